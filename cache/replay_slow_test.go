//go:build race

package cache

// replaySurvivors is less where every access is watched.
const replaySurvivors = 200_000

const modelOperations = 150_000
