package feed

// childRole names, in the environment of a child, which part it plays.
const childRole = "FEED_TEST_CHILD"

// children are the parts that this test binary plays in a process of its own.
var children = map[string]func() int{}
