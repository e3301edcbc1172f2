"""What sparklite's tasks are made of: standard library only, put into every agent's bundle.

    frameworks/sparklite (driver)                     here (worker process)
    RDD -> plan of stages -> tasks  ----------->  task.run: nodes make the items of one partition,
                                                  shuffle writes them to the agent's block store or returns a value
    outputs, results, metrics       <-----------

In a worker this package is imported under its name, `mesolite.executors.sparklite`, whether Mesolite is installed there or not
(entry.py), so what is pickled on one side is found on the other. What users' closures may name (`TaskContext`, `Broadcast`,
`Accumulator`, `StatCounter`, `StorageLevel`, `SparkFiles`) lives here for that reason; `mesolite.frameworks.sparklite` has it
again.
"""
