"""Common given names, by which the rules know a person's name in running text.

Left out: clinical words and eponyms (Alexander, Ann, Christian, Clark, Down, Frank, Grace,
Lewis, Mark, May, Paris, Rose, Sydney, Victoria, ...), since 'Ann Arbor IIIA' and 'Alexander disease' are findings.
"""

from __future__ import annotations

_TEXT = """
Aaron Abdul Abigail Adam Adrian Agnes Ahmed Aisha Alan Albert Alejandro Alessandro Alice Amanda Amelia Amy Ana
Andrea Andreas Andrew Angela Anita Anna Anne Anthony Antonio Arthur Barbara Beatrice Benjamin Bernd Birgit Brenda
Brian Bridget Carla Carlos Carmen Caroline Catherine Cecilia Charlotte Chiara Christina Christine Christoph
Christopher Claire Claudia Cynthia Daniel Daniela David Deborah Dennis Diana Dieter Dimitri Dominik Donald Donna
Dorothy Douglas Edith Eduardo Edward Eileen Elena Elisabeth Elizabeth Ellen Emily Emma Enrique Eric Erika Ernst
Esther Eva Evelyn Fatima Felix Fernando Florian Francesca Francesco Francisco Franz Frederick Gabriel Gabriele Gary
George Gerald Gerhard Giovanni Giulia Giuseppe Gloria Gregory Günther Hannah Hans Harold Heather Heinz Helen Helena
Helga Helmut Henry Herbert Hiroshi Horst Hugo Ibrahim Ingrid Irene Isabel Isabella Jack Jacob Jacqueline James Jan
Jane Janet Janice Jason Javier Jean Jeffrey Jennifer Jessica Joan Johann Johannes John Jonas Jonathan Jorge Jose
José Joseph Joshua Joyce Juan Judith Julia Julian Julie Jürgen Karen Karin Karl Katherine Kathleen Kenneth Kevin
Klaus Laura Lauren Leonard Linda Lisa Lorenzo Louise Lucia Luis Lukas Magdalena Manfred Manuel Marco Margaret Maria
Marie Mario Marta Martha Mary Matteo Matthew Matthias Megan Melissa Michael Michelle Miguel Mohamed Mohammed Monika
Muhammad Nancy Natalie Nathan Nicholas Nicole Nina Noah Olga Oliver Olivia Omar Otto Pablo Pamela Patricia Patrick
Paula Pedro Peter Petra Philip Philipp Pierre Rachel Rafael Ralph Raymond Rebecca Renate Richard Robert Roberto
Ronald Rosemary Roy Russell Ruth Ryan Sabine Samantha Samuel Sandra Sara Sarah Scott Sean Sergio Sharon Shirley
Simon Sofia Sophia Sophie Stefan Stefanie Stephanie Stephen Steven Stuart Susan Susanne Svetlana Tatiana Teresa
Theresa Thomas Timothy Tobias Ulrich Ursula Uwe Valentina Vincent Vladimir Walter Wei Werner William Wolfgang Xavier
Yasmin Yuki Yusuf Zoe
"""

GIVEN_NAMES = tuple(_TEXT.split())
