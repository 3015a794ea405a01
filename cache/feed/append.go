package feed

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
)

const (
	// conflictPause is how long an append that lost the race waits for the
	// winner's record before it looks again.
	conflictPause = 50 * time.Millisecond
	// recallTime bounds the look at the log after an answer that was lost.
	recallTime = 2 * time.Second
)

// ErrForestalled: what was to be appended is in the log already.
var ErrForestalled = errors.New("the log has it already")

// Append stores events as one record and gives its number and time. It
// returns nil only when the record is durable in the log and this machine's
// head names it; it is then applied here too, unless ctx ended first. Every
// error wraps ErrNotDurable: the events may then be lost, and to append them
// again is right, for an event that is applied twice changes nothing more.
func (f *Feed) Append(ctx context.Context, events ...cache.Event) (uint64, time.Time, error) {
	return f.AppendUnless(ctx, nil, events...)
}

// AppendUnless is Append, but that it asks before each attempt whether the
// events have become needless, and returns ErrForestalled when they have. done
// is asked when every record is applied here that the new one would stand
// behind, so that of several replicas which append the same thing unless it is
// there, at the same time, one does.
func (f *Feed) AppendUnless(ctx context.Context, done func() bool, events ...cache.Event) (uint64, time.Time, error) {
	if len(events) == 0 || len(events) > cache.MaxEvents {
		return 0, time.Time{}, fmt.Errorf("append %d events, not 1 to %d: %w", len(events), cache.MaxEvents, ErrNotDurable)
	}
	for i := range events {
		if err := events[i].Validate(); err != nil {
			return 0, time.Time{}, fmt.Errorf("append event %d: %w: %w", i, err, ErrNotDurable)
		}
	}
	p, at, err := f.append(ctx, typeEvents, cache.EncodeEvents(nil, events), done)
	switch {
	case errors.Is(err, ErrForestalled):
		return 0, time.Time{}, ErrForestalled
	case err != nil:
		return 0, time.Time{}, fmt.Errorf("append to the feed: %w: %w", err, ErrNotDurable)
	}
	return p.number, at, nil
}

// Confirm returns nil when everything applied here so far is durable, and has
// proved it by a record of its own behind it. It is for a record that this
// process was not told to be durable: one whose append failed without an
// answer, and which the follower met all the same. An error wraps ErrNotDurable.
func (f *Feed) Confirm(ctx context.Context) error {
	p, _, err := f.append(ctx, typeTick, nil, nil)
	if err == nil && f.cfg.Head != nil {
		err = f.cfg.Head.store(p, true) // a tick alone is written down in its own time
	}
	if err != nil {
		return fmt.Errorf("confirm the feed: %w: %w", err, ErrNotDurable)
	}
	return nil
}

// append puts one record behind everything applied here, unless done says that
// there is no need; nil never does.
func (f *Feed) append(ctx context.Context, kind recordType, payload []byte, done func() bool) (position, time.Time, error) {
	if n := minRecord + len(payload); n > MaxRecord {
		return position{}, time.Time{}, fmt.Errorf("the record would have %d bytes, more than %d: append fewer events at once", n, MaxRecord)
	}
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return position{}, time.Time{}, fmt.Errorf("wait for earlier appends: %w", ctx.Err())
	}
	for {
		after, err := f.tail(ctx, kind)
		if err != nil {
			return position{}, time.Time{}, err
		}
		if done != nil && done() {
			return position{}, time.Time{}, ErrForestalled
		}
		now := time.Now()
		kind, payload := kind, payload
		if after.number == 0 {
			kind, payload = typeGenesis, nil
			rand.Read(after.epoch[:])
		}
		b, p := seal(f.cfg.Key, after, kind, now, payload)
		f.mu.Lock()
		f.own = sent{hash: p.hash, when: now}
		f.mu.Unlock()
		err = f.store(ctx, after.number, b)
		switch {
		case errors.Is(err, ErrConflict):
			if err := f.outrun(ctx, after.number); err != nil {
				return position{}, time.Time{}, err
			}
			continue
		case err != nil:
			return position{}, time.Time{}, err
		}
		if err := f.settle(ctx, p, kind); err != nil {
			return position{}, time.Time{}, err
		}
		if after.number != 0 {
			return p, now.UTC().Round(0), nil
		}
	}
}

// tail gives the position to append behind, or why nothing can be appended.
func (f *Feed) tail(ctx context.Context, kind recordType) (position, error) {
	var at position
	var why error
	err := f.wait(ctx, func() bool {
		at, why = f.at, nil
		switch {
		case f.broken != nil:
			why = f.broken
		case kind == typeEvents && !f.synced, !f.caught && !f.synced:
			why = errors.New("the feed was not yet read to its end")
		default:
			// Behind a record of our own that is not applied yet: wait for it.
			return f.acked <= f.at.number
		}
		return true
	})
	if err != nil {
		return position{}, fmt.Errorf("wait until earlier records are applied: %w", err)
	}
	return at, why
}

// store appends one record, and finds out what became of it where the log
// does not say.
func (f *Feed) store(ctx context.Context, after uint64, b []byte) error {
	number, err := f.cfg.Log.Append(ctx, after, b)
	switch {
	case err == nil && number == after+1:
		return nil
	case err == nil:
		err = breakAt(after, ErrGap, "the log gave number %d to the record behind %d", number, after)
		f.interrupt(err)
		return err
	case errors.Is(err, ErrConflict), errors.Is(err, ErrRefused):
		return err
	}
	// The answer was lost; ctx may be what cut it off.
	recall, cancel := context.WithTimeout(context.WithoutCancel(ctx), recallTime)
	defer cancel()
	found, readErr := f.cfg.Log.Get(recall, after+1)
	switch {
	case readErr == nil && bytes.Equal(found, b):
		return nil
	case readErr == nil:
		return ErrConflict
	}
	return fmt.Errorf("store record %d: %w (looked for it: %w)", after+1, err, readErr)
}

// outrun waits, after a lost race, until the record that won is applied here.
func (f *Feed) outrun(ctx context.Context, after uint64) error {
	f.mu.Lock()
	f.stats.Conflicts++
	f.mu.Unlock()
	last, err := f.cfg.Log.Last(ctx)
	if err != nil {
		return fmt.Errorf("find the end of the log: %w", err)
	}
	if last < after {
		err := rolled(last, after)
		f.interrupt(err)
		return err
	}
	pause, cancel := context.WithTimeout(ctx, conflictPause)
	defer cancel()
	_ = f.wait(pause, func() bool { return f.at.number > after || f.broken != nil })
	return ctx.Err()
}

// settle does what comes between the log's acknowledgement and ours.
func (f *Feed) settle(ctx context.Context, p position, kind recordType) error {
	f.mu.Lock()
	f.acked = p.number
	f.mu.Unlock()
	if kind == typeEvents && f.cfg.Head != nil {
		if err := f.cfg.Head.store(p, true); err != nil {
			return err
		}
	}
	// It is durable: when only the follower is late, that is no failure. When
	// the feed broke before the record it may fit nowhere, and that is one.
	_ = f.wait(ctx, func() bool { return f.at.number >= p.number || f.broken != nil })
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at.number < p.number && f.broken != nil {
		return fmt.Errorf("record %d was stored behind a break: %w", p.number, f.broken)
	}
	return nil
}

// interrupt ends the read that is going on, for a reason that it can not see.
func (f *Feed) interrupt(why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop != nil {
		f.stop(why)
	}
}
