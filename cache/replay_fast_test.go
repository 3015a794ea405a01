//go:build !race

package cache

// replaySurvivors is how many later proofs a record has to outlive.
const replaySurvivors = 10_000_000

// modelOperations is how long the long life of an index is.
const modelOperations = 2_000_000
