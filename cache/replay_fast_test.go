//go:build !race

package cache

// replaySurvivors is how many later proofs a record has to outlive.
const replaySurvivors = 10_000_000
