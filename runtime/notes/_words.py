"""Words of clinical keys and of report headings, by which the rules tell "Tumor Size" from a person's name."""

from __future__ import annotations

_TEXT = """
feature features sarcomatoid bleeding budding use used screening imaging scan finding score scoring crypt granuloma
abdominal ablation adenocarcinoma adjuvant adrenal age ajcc albumin alcohol alive allergy allred alter altered
alternation anal anatomic anatomical ann antibody appendix arbor arm array artery assay asthma atypia axillary
bacterial barcelona barrett basal befund benign best bethesda bile binet biomarker biopsy bladder blast block blood
bloom bmi body bone bowel bowen bowman brain branch breast breslow bronchial bronchus burden burkitt cancer capsular
capsule carcinoma cardiac cause cavity cecum cell cells cellularity cervical cervix change characteristic charlson
chemo chemotherapy chest child chromosome chronic clark class classification clear clearance clinical clone code
cohort cold colon colonic colorectal combined comment common comorbidity complete complication component concentration
condition control core cores count country course cowden creatinine crohn cycle cyst cystic cytology day days dead
death deep deficient degree density depth dermal diabetes diagnose diagnosis diameter diet differentiation diffuse
direct disease disorder distal distance distant dominant donor dose drug duct ductal dukes duration durie dysplasia
ecog edition edmondson effect endocrine endometrial endometrium enneking epithelial epithelium esophagus estrogen
ethnic ethnicity evaluation event ewing exposure expression extension extent extra extracapsular extranodal eye
fallopian family fat female fibrosis figo final finding first fixation focal follicular follow follow-up form fraction
frequency fuhrman fusion gallbladder gastric gender gene genetic genome genotype germline geschlecht gewebe gland
glandular gleason gorlin grad grade grading gross group growth hair head heart height hematocrit hemoglobin hepatic
high histologic histological histologie histology history hodgkin hormone host hot human hypoxia image immune immuno
immunotherapy index infection infiltrate infiltrating infiltration inflammation inflammatory inhibitor instability
intensity intestinal intestine invasion invasive involved involvement ishak isolated item jeghers kaposi karnofsky
keratin kidney krukenberg laboratory large laryngeal larynx last lateral laterality lauren left length lesion leukemia
level line liver lobe lobular lobule local localisation localization location lokalisation loss low lower lung lymph
lymphatic lymphocyte lymphocytes lymphoid lymphoma lymphovascular lynch main major male malignancy malignant
mammaprint mammary margin margins marker markers marrow masaoka mass max maximum mayo mean measurement medial median
mediastinal medical medication melanoma menopausal menopause menstrual merkel metastases metastasis metastatic metavir
method microsatellite middle milan min minimum minor mismatch mitosis mitotic mixed mmr mode molecular month months
morphology mucinous mucosa multifocal muscle mutation mutational nasal nature neck necrosis necrotic negative neo
neoadjuvant neoplasm nerve nodal node nodes nodule non normal note nottingham nuclear nucleus number objective
occupation oncotype oral organ origin other outcome outcomes outer ovarian ovary overall pack paget pain pancreas
pancreatic papillary parity parotid partial pathologic pathological pathology pattern pd pelvic percent percentage
performance perineural peritoneal peritoneum peutz phase phenotype platelet pleomorphism pleura pleural ploidy polyp
portal positive post postmenopausal pre predominant pregnancy premenopausal presence present presentation pressure
prevalence previous primary prior procedure progesterone prognosis prognostic progression progressive prostate
prostatic protein proximal pugh pulmonary quadrant quality race radiation radiotherapy rai rate ratio reaction
receptor recist rectal rectum recurrence recurrent red reed regimen region regional regression reinke relapse
remission renal repair resectable resection resident residual response result results richardson right risk salivary
salmon sample sarcoma scar score second secondary sentinel serous serum sex side sigmoid signature signet site size
skin small smoker smoking soft solid specimen spindle spleen spread squamous stable stadium stage staging stain
staining standard state status steiner stem sternberg stomach stroma stromal sub subsite subtype superficial surface
surgery surgical survival suspected symptom symptoms syndrome system systemic target temperature test testicular
testis therapie therapy thickness third thoracic throat thymus thyroid time tissue tls tobacco tongue tonsil total
toxicity transition transplant treatment triple tubular tubule tumor tumour type ulcer ulceration ulcerative
underlying unit upper urinary urine urothelial uterine uterus vaccine vaginal variant vascular vein venous version
viral virchow virus visceral vital volume vulva wall week weeks weight white wilms within year years yes
"""

CLINICAL_WORDS = frozenset(_TEXT.split())
