package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/feed"
	"github.com/holdfast-authz/holdfast/cmd/internal/admin"
)

// The index is written down every now and then and at the end, so that the next
// start reads the feed on from there. What else records tell, and what would be
// missing then, goes with it: see feed.Marks.

const (
	// keyedDay is how long an Idempotency-Key holds (contract §10); their
	// records are told again after a start, from the first one of that time.
	keyedDay = 24 * time.Hour
	// keyedPart is how exactly that first one is known.
	keyedPart = time.Hour
)

// snapshot is the state of the index's snapshot.
type snapshot struct {
	file feed.Snapshot
	due  atomic.Bool // an image is wanted, at the next record

	frozen chan frozen // holds one

	mu      sync.Mutex
	keyed   []keyed   // the first record with an Idempotency-Key in each part of the last day
	passed  time.Time // the latest record that was believed
	swept   time.Time
	written time.Time
	refused error // why the file found at the start was not used
	failed  error // why the last write failed
}

// frozen is an image, and what the records up to it leave beside it.
type frozen struct {
	image *cache.Image
	marks feed.Marks
}

// keyed is a record with an Idempotency-Key.
type keyed struct {
	number uint64
	at     time.Time
}

// openSnapshot reads what the last process wrote, and says where the feed goes
// on.
func (p *process) openSnapshot() feed.Start {
	s := &p.snapshot
	s.frozen = make(chan frozen, 1)
	s.file = feed.Snapshot{
		Path: filepath.Join(p.config.Feed.StateDirectory(), "index.snapshot"),
		Key:  p.feedKey, Log: p.broker, Head: p.head, Logger: p.log,
	}
	began := time.Now()
	var start feed.Start
	p.index, start, s.refused = s.file.Load(context.Background(), began)
	if start.Position.Number == 0 {
		return start
	}
	if info, err := os.Stat(s.file.Path); err == nil {
		s.written = info.ModTime()
	}
	s.passed, s.swept = start.Time, start.Swept
	if !start.Time.IsZero() {
		p.believe(start.Position.Number, start.Time)
	}
	p.log.Info("index snapshot read", "number", start.Position.Number, "again", start.Again, "took", time.Since(began).Round(time.Millisecond))
	return start
}

// believe lifts the clock to a record's time.
func (p *process) believe(number uint64, at time.Time) {
	if now := time.Now(); !at.After(now.Add(maxAhead)) {
		p.clock.Raise(at)
	} else if p.ahead.CompareAndSwap(false, true) {
		p.log.Error("a feed record is dated far ahead of this clock: set the clock right; the record's time is not used", "record", number, "dated", at, "now", now)
	}
}

// again takes a record that the snapshot has, for those whom it does not tell.
func (p *process) again(number uint64, at time.Time, events []cache.Event) {
	p.admin.Applied(number, at, events)
	p.snapshot.note(number, at, events)
}

// note takes down what a record leaves beside the index.
func (s *snapshot) note(number uint64, at time.Time, events []cache.Event) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.After(s.passed) && !at.After(now.Add(maxAhead)) {
		s.passed = at
	}
	for i := range events {
		if events[i].Request == (cache.Key{}) {
			continue
		}
		if n := len(s.keyed); n == 0 || !at.Before(s.keyed[n-1].at.Add(keyedPart)) {
			s.keyed = append(s.keyed, keyed{number, at})
		}
		break
	}
	for len(s.keyed) > 0 && now.Sub(s.keyed[0].at) > keyedDay+keyedPart {
		s.keyed = s.keyed[1:]
	}
}

// freeze begins an image where one is due. It is called between two records, by
// whoever applies them.
func (p *process) freeze() {
	s := &p.snapshot
	if !s.due.Load() {
		return
	}
	at := p.feed.Position()
	if at.Number == 0 {
		return
	}
	image, err := p.index.Freeze(at)
	if err != nil {
		return // the one before is still being written
	}
	s.due.Store(false)
	s.mu.Lock()
	marks := feed.Marks{Time: s.passed}
	if len(s.keyed) > 0 {
		marks.Again = s.keyed[0].number
	}
	s.mu.Unlock()
	s.frozen <- frozen{image, marks} // there is room: the last one was taken and written
}

// sweeping notes that what ended before now leaves the index.
func (s *snapshot) sweeping(now time.Time) {
	now = now.Round(0) // it is the wall clock that the next process compares
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.After(s.swept) {
		s.swept = now
	}
}

// keepSnapshot writes an image at every interval.
func (p *process) keepSnapshot(ctx context.Context) error {
	interval := time.NewTicker(p.config.Feed.Snapshot.Interval)
	defer interval.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-interval.C:
			p.snapshot.due.Store(true)
		case f := <-p.snapshot.frozen:
			p.save(f)
		}
	}
}

// lastSnapshot writes the index as it is when nothing is applied any more. One
// that never was in sync is not worth it.
func (p *process) lastSnapshot() {
	s := &p.snapshot
	if p.sync.Health(time.Now(), p.config.Feed.MaxAge) == cache.NotReady {
		return
	}
	select {
	case f := <-s.frozen:
		f.image.Drop()
	default:
	}
	s.due.Store(true)
	p.freeze()
	select {
	case f := <-s.frozen:
		p.save(f)
	default:
	}
}

func (p *process) save(f frozen) {
	s := &p.snapshot
	err := s.file.Save(f.image, func() feed.Marks {
		// A sweep goes on while the image is written.
		s.mu.Lock()
		defer s.mu.Unlock()
		f.marks.Swept = s.swept
		return f.marks
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && s.failed == nil:
		p.log.Error("the index's snapshot can not be written; the one before stays, and the next start takes longer", "error", err)
	case err == nil && s.failed != nil:
		p.log.Info("the index's snapshot can be written again")
	}
	if s.failed = err; err == nil {
		s.written = time.Now()
	}
}

// last is when the file was written.
func (s *snapshot) last() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written
}

// check is the snapshot's line of readiness. Nothing depends on it.
func (s *snapshot) check() admin.Check {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := admin.Check{Name: "snapshot", Advisory: true}
	switch {
	case s.failed != nil:
		c.Detail = s.failed.Error()
	case s.refused != nil && s.written.IsZero():
		c.Detail = fmt.Sprintf("the one found at the start was moved aside: %v", s.refused)
	default:
		c.OK = true
	}
	return c
}
