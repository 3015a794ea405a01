package main

import (
	"os"
	"runtime/debug"
)

// tuneMemory lets the heap grow to five times what lives before it is
// collected: the live heap is small, and a collection costs every check.
// GOGC, where it is set, is the operator's word.
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}
