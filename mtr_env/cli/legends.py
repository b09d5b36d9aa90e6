"""What stands below the options in `mtr-env COMMAND --help`."""

from __future__ import annotations

FREEZING = """

Without --record-policy the folder holds questions and tools, and the grounded
ToolActor answers. With it, the responses to the calls of these policies (and of
the oracle) are recorded, and the world is replayed from them alone: a call that
nobody made is an outage. A --tool-actor of your own has to be recorded."""
YOUR_POLICY = """

A policy of your own is module:attr; the module may lie in the current folder:
  a function (messages, tools) -> text   called for every step; `async` if it
                                         waits, then many episodes go on at once
  an object that can be called so        the same
  a class or function without arguments  called once per run, to make the policy
  an object with for_episode(trace)      called once per episode, to make that
                                         episode's player: memory per episode
                                         (with `asynchronous = True` if that waits)"""
AUDIT = """

What the report says:
  oracle             knows the gold evidence, copies every word from what it saw
  provable           questions that the oracle solves with EM and reward 1.0
                     (with --noise: with this noise)
  first-search, ...  short cuts, which should earn little; a warning says when
                     one earns more than half of what the oracle does
  leaks              tools whose name or description gives the answer away
  toolset problems   an unportable name, an invalid schema, too many tools, ...
  invalid responses  responses that break the tool's own response schema
  annotations dropped
                     marks of the data set that point to nothing (a sentence
                     that is not there); `dropped` in the JSON has them all
  relation tools that know a page's title
                     get_director and the like, each asked about every title of
                     its question's pages: how often those that the question
                     needs (gold) and the others (distractors) find something.
                     A difference near 0 is good: trying them tells nothing
  gold answers occur in the corpus
                     with --corpus; answers other than yes and no

Why a question is not provable:
  no search with words seen so far finds the page
                     the oracle searches only for words that it has seen
  no value that the tools return states the answer
                     nothing it could read says it in the gold answer's words
  needs N steps; M are allowed
                     --max-steps is too small
  reward R: PART P   right, but that part is below 1 (docs/reward.md)
  answered without a tool call
                     the question itself states the answer
  its toolset was refused
                     a leak, or a toolset problem

With --actor, the simulator is audited instead of the world: each call of the
oracle is asked of it too, and then once more in other words.
  fields that agree  with the evidence, but for case, punctuation, order of lists
  valid at first try responses of the model that needed no repair
  leaks              state the final answer, of the responses to calls that did
                     not ask for it
  self-consistency   fields that were the same when asked in other words"""

COMPARE = """

Episodes are paired by question, and samples of one question in the order of
their seeds. Runs of different worlds, tools, step limits or rubrics are
refused. What it says:
  difference   the mean over pairs of "this run minus the first"; its 95%
               interval counts the samples of one question as one
  p            exact sign test over questions that differ (for EM with one
               sample: McNemar's); no difference at all would do as well as
               this so often
  noise        how far two runs of one policy lie apart by their seeds alone, in
               95 of 100 cases: from --noise-floor, or where questions were
               sampled several times, from these samples; of each family by
               itself. A difference within it says nothing about the policies,
               one flip always is, and with fewer than 20 pairs nobody can say
  right now    questions that flipped: the share of right answers went up (or
               down); --json has all of them"""

LINT = """

What a framework does with a tool:
  refused   it raises an error, or its server answers 400
  hidden    the model is not offered the tool
  dropped   the model is not told a keyword of the schema; arguments are checked
            against the whole schema all the same
  changed   the model is told something else
  warned    nothing but a line in a log
It ends with 1 when a tool is refused or hidden, with --strict for any finding.
trl is its environment_factory, verl its BaseTool: mtr_env.adapters.trl.
make_rollout_func and mtr_env.adapters.verl show schemas as they are."""
