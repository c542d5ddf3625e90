# SPDX-License-Identifier: GPL-2.0
# make <stage>... <verb>, such as `make lab3 test`; `make help` lists them all.
#
# Stages and verbs are both goals to make. All of them go to one call of judge/run,
# which hangs on the first; the others have nothing left to do.

WORDS := $(or $(MAKECMDGOALS),help)
FIRST := $(firstword $(WORDS))

.PHONY: $(WORDS)
.DEFAULT_GOAL := $(FIRST)
# A file of that name, or make's built-in rules, must not come in between.
.SUFFIXES:
.NOTPARALLEL:
Makefile: ;

$(FIRST):
	@judge/run $(WORDS)

$(filter-out $(FIRST),$(sort $(WORDS))):
	@:
