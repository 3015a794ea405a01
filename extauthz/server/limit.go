package server

import (
	"runtime"
	"sync/atomic"
	"time"
)

// inflight bounds the checks that run at the same time. A check over the
// limit is answered at once, so that the queue is Envoy's and not ours.
type inflight struct {
	max int64
	now atomic.Int64
	// refused counts those that were not let in, entered those that were.
	refused, entered atomic.Uint64
}

func (f *inflight) enter() bool {
	if f.now.Add(1) > f.max {
		f.now.Add(-1)
		f.refused.Add(1)
		return false
	}
	f.entered.Add(1)
	return true
}

func (f *inflight) leave() { f.now.Add(-1) }

// Slots bound the signature checks that run at the same time: one ES384
// signature takes as long as 500 cached checks (security.md DS02).
type Slots struct {
	// Wait is how long Acquire waits for a slot at most; set before use.
	// Longer than a burst, far shorter than Envoy's timeout.
	Wait  time.Duration
	taken chan struct{}
}

const (
	slotsPerCore = 4
	slotWait     = 10 * time.Millisecond
)

// NewSlots makes n slots; 0 or less = 4 for each core that Go uses.
func NewSlots(n int) *Slots {
	if n <= 0 {
		n = slotsPerCore * runtime.GOMAXPROCS(0)
	}
	return &Slots{Wait: slotWait, taken: make(chan struct{}, n)}
}

// Acquire takes a slot and tells whether it got one; Release gives it back.
func (s *Slots) Acquire() bool {
	select {
	case s.taken <- struct{}{}:
		return true
	default:
	}
	if s.Wait <= 0 {
		return false
	}
	timer := time.NewTimer(s.Wait)
	defer timer.Stop()
	select {
	case s.taken <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

// Release gives back a slot that Acquire has given.
func (s *Slots) Release() {
	select {
	case <-s.taken:
	default:
		panic("server: Slots.Release without Acquire")
	}
}

// InUse is the number of slots taken.
func (s *Slots) InUse() int { return len(s.taken) }
