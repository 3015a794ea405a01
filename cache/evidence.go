package cache

import (
	"sync"
	"time"
)

// Evidence counts the denials that each revocation caused: the proof that it
// took effect. Only denials write it, so its lock is off the way of a request
// that is let through. It holds one row for each revocation that
// has denied something, until the revocation's end.
type Evidence struct {
	mu   sync.Mutex
	rows map[Ref]*evidence
}

type evidence struct {
	Enforced
	until int64 // of the revocation: the row is of no use after it
}

// Enforced is what is known of a revocation's effect at this replica.
type Enforced struct {
	Count       uint64
	First, Last time.Time
}

// NewEvidence returns an empty table.
func NewEvidence() *Evidence { return &Evidence{rows: make(map[Ref]*evidence)} }

// Add notes one more denial.
func (v *Evidence) Add(hit Hit, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.rows[hit.Ref]
	if e == nil {
		e = &evidence{Enforced: Enforced{First: now}, until: hit.Until}
		v.rows[hit.Ref] = e
	}
	e.Count++
	e.Last = now
}

// Get gives what was noted; the zero Enforced where nothing was.
func (v *Evidence) Get(ref Ref) Enforced {
	v.mu.Lock()
	defer v.mu.Unlock()
	if e := v.rows[ref]; e != nil {
		return e.Enforced
	}
	return Enforced{}
}

// Expire forgets the revocations that ended before now.
func (v *Evidence) Expire(now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for ref, e := range v.rows {
		if e.until < now.Unix() {
			delete(v.rows, ref)
		}
	}
}
