"""One driver for each adapter: how a scenario of `mtr_env.testing.parity` is played through its real framework.

A driver is a module with

    PACKAGE = "skyrl-gym"      # the distribution whose version stands in the table; left out: no framework
    ONE_CALL_A_STEP = False    # whether the framework makes the calls of one message one by one; left out: it does not
    MAPPED = {}                # scenario's name -> how it ends instead, where the adapter's page says so

    def play(scenario: Scenario) -> Outcome: ...
    def seed(scenario: Scenario) -> int: ...    # only where an episode's seed follows from the scenario's by a rule

The adapter's tests and the table of `benchmarks.parity` use the same one. Importing it imports the framework.
"""
