package cache

import (
	"sync"
	"time"
)

// Evidence counts the denials that each revocation caused: the proof that it
// took effect. Only denials write it, so its lock is off the way of a request
// that is let through. It holds at most one row for each revocation in force.
type Evidence struct {
	mu   sync.Mutex
	rows map[Ref]Enforced
}

// Enforced is what is known of a revocation's effect at this replica.
type Enforced struct {
	Count       uint64
	First, Last time.Time
}

// NewEvidence returns an empty table.
func NewEvidence() *Evidence { return &Evidence{rows: make(map[Ref]Enforced)} }

// Add notes one more denial.
func (v *Evidence) Add(ref Ref, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.rows[ref]
	if e.Count == 0 {
		e.First = now
	}
	e.Count++
	e.Last = now
	v.rows[ref] = e
}

// Get gives what was noted; the zero Enforced where nothing was.
func (v *Evidence) Get(ref Ref) Enforced {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.rows[ref]
}
