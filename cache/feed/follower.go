package feed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
)

const (
	firstPause = 50 * time.Millisecond // before the log is read again
	longPause  = 10 * time.Second      // the pause doubles up to this
)

// Run follows the log and keeps the feed alive until ctx ends, which is no
// error, or the log is closed.
func (f *Feed) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var others sync.WaitGroup
	others.Go(func() { f.tick(ctx) })
	others.Go(func() { f.audit(ctx) })
	defer others.Wait()
	defer cancel()

	if _, damaged := f.headPosition(); damaged != nil {
		// Nothing read from the log could mend it: see Head.
		f.cfg.Logger.Error("feed is broken", "error", damaged)
		<-ctx.Done()
		return nil
	}
	pause := firstPause
	for {
		began := time.Now()
		err := f.read(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, ErrClosed) {
			f.note(err)
			return fmt.Errorf("follow the feed: %w", err)
		}
		f.note(err)
		if time.Since(began) > 2*longPause {
			pause = firstPause
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		pause = min(2*pause, longPause)
	}
}

func (f *Feed) headPosition() (position, error) {
	if f.cfg.Head == nil {
		return position{}, nil
	}
	return f.cfg.Head.position()
}

// note takes down why reading ended, and says it where that is news.
func (f *Feed) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.wake()
	f.stop, f.caught = nil, false
	var b *Break
	if !errors.As(err, &b) {
		if f.cut == nil {
			f.cfg.Logger.Warn("feed can not be reached, trying again", "error", err, "number", f.at.number)
		}
		f.cut = err
		return
	}
	if f.broken == nil || f.broken.Error() != b.Error() {
		f.cfg.Logger.Error("feed is broken; checks are answered as on_feed_stale says until the whole feed was read and verified again",
			"error", b, "number", f.at.number, "epoch", f.at.epoch)
		f.stats.Breaks++
	}
	f.broken = b
	f.cfg.Sync.Break(b.Error())
}

// read follows the log once, until something ends it.
func (f *Feed) read(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	cursor, target, err := f.resume(ctx)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.stop = stop
	f.stats.Last = target
	f.mu.Unlock()
	if cursor.number >= target {
		f.reached(target)
	}
	err = f.cfg.Log.Read(ctx, cursor.number, func(number uint64, b []byte) error {
		r, err := open(f.cfg.Key, cursor, number, b)
		if err != nil {
			return err
		}
		if err := f.take(&r, len(b)); err != nil {
			return err
		}
		cursor = r.position
		if number == target {
			f.reached(target)
		}
		return nil
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// resume decides where to read on: behind what is applied, where the log still
// has that; from the start, where the feed is new or broken. target is the
// end of the log as it is now.
func (f *Feed) resume(ctx context.Context) (cursor position, target uint64, err error) {
	f.mu.Lock()
	at, again := f.at, f.broken != nil
	f.mu.Unlock()
	target, err = f.cfg.Log.Last(ctx)
	if err != nil {
		return position{}, 0, fmt.Errorf("find the end of the log: %w", err)
	}
	if target < at.number {
		return position{}, 0, rolled(target, at.number)
	}
	if target < f.head.number {
		return position{}, 0, breakAt(target, ErrRolled,
			"this machine has seen record %d of epoch %v; bring the log back, or see the head file %s", f.head.number, f.head.epoch, f.cfg.Head.path)
	}
	// First what was seen before: the log of another feed, or one written anew
	// from some record on, is found out before anything of it is applied.
	for _, seen := range [...]position{at, f.head} {
		if err := still(ctx, f.cfg.Log, f.cfg.Key, seen); err != nil {
			return position{}, 0, err
		}
	}
	switch {
	case again:
		at = position{}
	case f.again > 0 && f.again <= f.cfg.Start.Position.Number:
		if at, err = f.before(ctx, f.again); err != nil {
			return position{}, 0, err
		}
	}
	return at, target, nil
}

// before is the position in front of a record. That it belongs to the chain is
// proved where the chain comes to what is applied.
func (f *Feed) before(ctx context.Context, number uint64) (position, error) {
	if number <= 1 {
		return position{}, nil
	}
	b, err := f.cfg.Log.Get(ctx, number-1)
	if errors.Is(err, ErrNoRecord) {
		return position{}, breakAt(number-1, ErrGap, "the log has later records, and has it no more")
	}
	if err != nil {
		return position{}, fmt.Errorf("read record %d again: %w", number-1, err)
	}
	r, err := parse(f.cfg.Key, number-1, b)
	if err == nil && r.number != number-1 {
		err = breakAt(number-1, ErrChain, "it was written as record %d", r.number)
	}
	return r.position, err
}

// rolled is the break of a log that ends before what was applied.
func rolled(last, applied uint64) error {
	return breakAt(last, ErrRolled, "record %d was applied here", applied)
}

// still tells whether a log has a record as it was seen before.
func still(ctx context.Context, log Log, key []byte, seen position) error {
	if seen.number == 0 {
		return nil
	}
	b, err := log.Get(ctx, seen.number)
	if errors.Is(err, ErrNoRecord) {
		return breakAt(seen.number, ErrGap, "it was seen here, and the log has it no more")
	}
	if err != nil {
		return fmt.Errorf("read record %d again: %w", seen.number, err)
	}
	r, err := parse(key, seen.number, b)
	if err != nil {
		return err
	}
	return same(&r, seen)
}

// same holds a record to one that was seen before under its number.
func same(r *record, seen position) error {
	switch {
	case r.epoch != seen.epoch:
		return breakAt(seen.number, ErrEpoch, "epoch %v, not %v: the log was made anew", r.epoch, seen.epoch)
	case r.position != seen:
		return breakAt(seen.number, ErrHistory, "another record was seen here under that number")
	}
	return nil
}

// take applies a verified record, unless that was done before.
func (f *Feed) take(r *record, size int) error {
	var events []cache.Event
	if r.kind == typeEvents {
		var err error
		if events, err = cache.DecodeEvents(r.payload); err != nil {
			return breakAt(r.number, ErrForm, "%v", err)
		}
	}
	// at is written by this goroutine only.
	for _, seen := range [...]position{f.at, f.head} {
		if r.number == seen.number {
			if err := same(r, seen); err != nil {
				return err
			}
		}
	}
	if r.number <= f.at.number {
		if r.number == f.again && r.number <= f.cfg.Start.Position.Number {
			f.cfg.Again(r.number, r.at, events)
			f.again++
		}
		return nil
	}
	f.cfg.Apply(r.number, r.at, events)

	f.mu.Lock()
	f.at = r.position
	f.stats.Bytes += uint64(size)
	if r.at.After(f.stats.LastTime) {
		f.stats.LastTime = r.at
	}
	// Only a record of our own proves that nothing is missing before it, and
	// it proves that for the moment in which it was sent.
	var proof time.Time
	if r.hash == f.own.hash && r.kind != typeGenesis {
		proof = f.own.when
		f.proof = proof
		if !f.synced {
			f.synced = true
			f.cfg.Logger.Info("feed is in sync", "number", r.number, "epoch", r.epoch)
		}
	}
	f.cfg.Sync.Advance(r.number, proof)
	f.wake()
	caught := f.caught
	f.mu.Unlock()
	if caught {
		f.noteHead()
	}
	return nil
}

// reached notes that everything is applied which the log had when the read
// began, and with that a feed that was broken is whole again.
func (f *Feed) reached(target uint64) {
	f.noteHead()
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.wake()
	f.caught = true
	if f.cut != nil {
		f.cfg.Logger.Info("feed can be reached again", "number", target)
		f.cut = nil
	}
	if f.broken != nil {
		f.broken = nil
		f.cfg.Sync.Mend()
		f.cfg.Logger.Warn("feed is whole again: every record was read and verified", "number", target, "epoch", f.at.epoch)
	}
	if f.cfg.Head != nil && f.head.number == 0 && !f.synced && target > 0 {
		f.cfg.Logger.Warn("there was no head file, or an empty one: the log is accepted as it is, and whether it was rolled back is unknown",
			"file", f.cfg.Head.path, "number", target, "epoch", f.at.epoch)
	}
}

// noteHead writes the head without waiting for the disk. It and what it uses
// belong to the goroutine that applies.
func (f *Feed) noteHead() {
	if f.cfg.Head == nil || f.at.number == 0 {
		return
	}
	err := f.cfg.Head.store(f.at, false)
	if err != nil && !f.mute {
		f.cfg.Logger.Warn("the highest record seen can not be noted", "error", err)
	}
	f.mute = err != nil
}
