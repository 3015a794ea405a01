package feed

import (
	"context"
	"errors"
)

// How much is verified again in each period: a log of a million records once
// in about two hours, at some milliseconds a time.
const (
	auditRecords = 256
	auditBytes   = 4 << 20
)

var errEnough = errors.New("enough for now")

// audit goes round what is already applied and verifies it again, a little at
// a time. The index would not need that before the next start; but what was
// lost is best noticed while other replicas still know it.
func (f *Feed) audit(ctx context.Context) {
	var cursor position
	for sleep(ctx, f.period()) {
		f.mu.Lock()
		at, well := f.at, f.caught && f.synced && f.broken == nil
		f.mu.Unlock()
		if !well {
			continue
		}
		if cursor.number >= at.number {
			cursor = position{}
		}
		bounded, cancel := context.WithTimeout(ctx, f.cfg.MaxAge)
		err := f.cfg.Log.Read(bounded, cursor.number, f.verifier(&cursor, at))
		cancel()
		var broken *Break
		if errors.As(err, &broken) {
			f.interrupt(broken)
			cursor = position{}
		}
	}
}

// verifier moves cursor over some records, at most to at, and holds each to
// the one before.
func (f *Feed) verifier(cursor *position, at position) func(number uint64, b []byte) error {
	end, size := min(cursor.number+auditRecords, at.number), 0
	return func(number uint64, b []byte) error {
		r, err := open(f.cfg.Key, *cursor, number, b)
		if err != nil {
			return err
		}
		*cursor = r.position
		size += len(b)
		switch {
		case number == at.number && r.position != at:
			return same(&r, at)
		case number >= end, size >= auditBytes:
			return errEnough
		}
		return nil
	}
}
