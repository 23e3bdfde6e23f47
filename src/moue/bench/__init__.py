"""Times moue beside another package, on one machine, in one run; every timed thing asserts its result.

``inputs`` makes what is read, ``protocol`` is what a worker process does with it, ``moue_worker`` and ``fer_worker``
are the workers, ``processes`` starts them, ``run`` lets them take turns, ``page`` writes the tables.
"""
