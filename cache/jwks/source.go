package jwks

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

const (
	backoffBase = time.Second      // ceiling of the first retry, doubled each time
	backoffCold = 10 * time.Second // ceiling of all retries while there are no keys at all
	filePoll    = 500 * time.Millisecond
)

// held is a set in force; immutable, replaced as a whole.
type held struct {
	set *jose.KeySet
	at  time.Time // of the last refresh that confirmed it, with the monotonic clock
}

// source keeps one issuer's keys.
type source struct {
	spec    Source
	log     *slog.Logger
	timeout time.Duration
	fetch   *fetcher // nil for a file

	keys  atomic.Pointer[held]
	asked atomic.Bool   // a refresh is wanted and has not begun
	wake  chan struct{} // capacity 1: tells run that asked was set

	begun, tried atomic.Uint64 // refreshes
	ok, failed   atomic.Uint64 // and their outcomes
	faults       atomic.Int64  // failures since the last success
	report       atomic.Pointer[report]
	next         atomic.Pointer[time.Time]

	turn chan struct{} // capacity 1: holding its slot is the right to refresh
	// Guarded by turn:
	err     error             // its outcome
	faulty  string            // the kind of failure last logged, "" while all is well
	stale   bool              // it was logged that the set is too old
	content [sha256.Size]byte // digest of the file as last read, zero where it could not be
	verdict error             // what was wrong with that
}

// report is the outcome of the last refreshes, for people.
type report struct {
	location  string // where the keys were last looked for
	lastError string
	errorAt   time.Time
}

func newSource(spec Source, c Config) (*source, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	s := &source{
		spec: spec, log: c.Logger.With("issuer", spec.Issuer), timeout: c.Timeout,
		wake: make(chan struct{}, 1), turn: make(chan struct{}, 1),
	}
	s.report.Store(&report{location: spec.URL + spec.File})
	if spec.File == "" {
		s.fetch = newFetcher(spec)
	}
	return s, nil
}

// adopt takes the set of the same source in a store before.
func (s *source) adopt(old *source) {
	if old == nil || old.spec.URL != s.spec.URL || old.spec.File != s.spec.File || old.spec.Discover != s.spec.Discover || old.spec.Bundle != s.spec.Bundle {
		return
	}
	if h := old.keys.Load(); h != nil {
		s.keys.Store(h)
	}
}

func (s *source) usable(now time.Time) (*jose.KeySet, bool) {
	h := s.keys.Load()
	if h == nil || now.Sub(h.at) > s.spec.MaxStale {
		return nil, false
	}
	return h.set, true
}

func (s *source) want() {
	if s.asked.Load() || !s.asked.CompareAndSwap(false, true) {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run refreshes on time and on demand. It is the only caller of budget.
func (s *source) run(ctx context.Context, delay time.Duration) {
	var (
		demand budget
		fresh  bool // the next refresh is on demand: past every cache
	)
	if s.tried.Load() > 0 { // Load or Refresh came first
		delay = s.pause()
	}
	due := time.Now().Add(delay)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		next := due
		s.next.Store(&next)
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			if s.spec.File != "" {
				continue // looked at twice a second as it is
			}
			fresh = true
			if at := demand.at(time.Now()); at.Before(due) {
				due = at
			}
		case <-timer.C:
			if fresh {
				demand.spend(time.Now())
			}
			before := s.keys.Load()
			_ = s.refresh(ctx, fresh) // logged, counted and in Status
			if after := s.keys.Load(); fresh && after != nil && (before == nil || before.set != after.set) {
				demand.refund()
			}
			fresh = false
			due = time.Now().Add(s.pause())
		}
		timer.Reset(time.Until(due))
	}
}

// pause is the time until the next refresh that nobody asked for.
func (s *source) pause() time.Duration {
	if s.spec.File != "" {
		return filePoll
	}
	faults := s.faults.Load()
	if faults == 0 {
		// Never later than Refresh, which bounds how long a withdrawn key
		// works; earlier by chance, so that replicas drift apart.
		return jitter(s.spec.Refresh*3/4, s.spec.Refresh)
	}
	ceiling := s.spec.Refresh
	if _, ok := s.usable(time.Now()); !ok {
		ceiling = min(ceiling, backoffCold)
	}
	ceiling = min(ceiling, backoffBase<<min(faults-1, 16))
	return jitter(backoffBase/4, ceiling)
}

// jitter is a random time between low and high.
func jitter(low, high time.Duration) time.Duration {
	if high <= low {
		return max(low, 0)
	}
	return low + rand.N(high-low+1) //nolint:gosec // it spreads load, nothing secret hangs on it
}

// refresh looks for keys once. A caller that waited while another's refresh
// began and ended takes its outcome instead.
func (s *source) refresh(ctx context.Context, fresh bool) error {
	arrived := s.begun.Load()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return fmt.Errorf("refresh keys of %s: %w", s.spec.Issuer, context.Cause(ctx))
	}
	if fresh && s.begun.Load() > arrived {
		return s.err
	}
	s.begun.Add(1)
	s.asked.Store(false) // whoever asks from here on may have seen a newer key

	limited, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	set, err := s.load(limited, fresh)
	if err != nil && ctx.Err() != nil {
		// We are being stopped, or the caller went away: nobody's failure.
		s.err = fmt.Errorf("refresh keys of %s: %w", s.spec.Issuer, err)
		return s.err
	}
	s.settle(set, err)
	s.tried.Add(1)
	return s.err
}

// load gets a set, or a nil one where the old one still holds. Whatever a
// hostile document makes our own code do, it ends as a failure of this source.
func (s *source) load(ctx context.Context, fresh bool) (set *jose.KeySet, err error) {
	defer func() {
		if p := recover(); p != nil {
			set, err = nil, &fault{"internal", fmt.Errorf("panic: %v", p)}
		}
	}()
	if s.fetch == nil {
		return s.readFile()
	}
	return s.fetch.keySet(ctx, fresh, s.keys.Load() != nil)
}

// settle puts the outcome of a refresh in force, counts it, and logs it where
// it is news.
func (s *source) settle(set *jose.KeySet, err error) {
	now := time.Now()
	old := s.keys.Load()
	rep := *s.report.Load()
	if s.fetch != nil {
		rep.location = s.fetch.location
	}
	defer func() { s.report.Store(&rep) }()

	if err != nil {
		s.err = fmt.Errorf("refresh keys of %s: %w", s.spec.Issuer, err)
		s.faults.Add(1)
		s.failed.Add(1)
		rep.lastError, rep.errorAt = err.Error(), now
		s.mourn(now, err)
		return
	}
	switch {
	case set == nil: // unchanged at the source
		set = old.set
	case old == nil:
		s.log.Info("keys loaded", "from", rep.location, "kids", kids(set))
	case old.set.ID() == set.ID():
		set = old.set // equal sets stay the same pointer
	default:
		added, removed := difference(old.set, set)
		s.log.Info("keys changed", "from", rep.location, "added", added, "removed", removed)
	}
	if s.faulty != "" {
		s.log.Info("keys refreshed again", "from", rep.location, "failures", s.faults.Load())
	}
	s.keys.Store(&held{set, now})
	s.err, s.faulty, s.stale = nil, "", false
	s.faults.Store(0)
	s.ok.Add(1)
}

// mourn logs a failure of another kind than the last one, and the moment when
// the last good set has become too old.
func (s *source) mourn(now time.Time, err error) {
	_, usable := s.usable(now)
	kind := kindOf(err)
	if s.fetch == nil {
		kind += string(s.content[:]) // once per content
	}
	if kind != s.faulty {
		s.faulty = kind
		s.log.Warn("keys not refreshed, the last good ones stay in force", "error", err, "have_keys", usable)
	}
	if !usable && s.keys.Load() != nil && !s.stale {
		s.stale = true
		s.log.Error("keys are too old, tokens of this issuer are refused", "max_stale", s.spec.MaxStale)
	}
}
