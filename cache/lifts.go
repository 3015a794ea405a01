package cache

import (
	"sync"
	"time"
)

// Lift is the end of a revocation before its time.
type Lift struct {
	By    Ref       // the event that ended it
	At    time.Time // when that was appended
	until uint32    // when it may be forgotten: with the revocation itself
}

// lifts are the revocations that were lifted and had not ended yet.
type lifts struct {
	shard [shards]struct {
		sync.RWMutex
		of map[Ref]Lift
	}
}

func (l *lifts) add(ref Ref, lift Lift) {
	s := &l.shard[ref.Number%shards]
	s.Lock()
	defer s.Unlock()
	if s.of == nil {
		s.of = make(map[Ref]Lift)
	}
	s.of[ref] = lift
}

func (l *lifts) get(ref Ref) (Lift, bool) {
	s := &l.shard[ref.Number%shards]
	s.RLock()
	defer s.RUnlock()
	lift, ok := s.of[ref]
	return lift, ok
}

// liftRow is a lift and the revocation that it ended.
type liftRow struct {
	ref Ref
	Lift
}

// rows gives those of one shard.
func (l *lifts) rows(i int) (rows []liftRow) {
	s := &l.shard[i]
	s.RLock()
	defer s.RUnlock()
	for ref, lift := range s.of {
		rows = append(rows, liftRow{ref, lift})
	}
	return rows
}

func (l *lifts) expire(now int64) {
	for i := range l.shard {
		s := &l.shard[i]
		s.Lock()
		for ref, lift := range s.of {
			if int64(lift.until) < now && lift.until != never {
				delete(s.of, ref)
			}
		}
		s.Unlock()
	}
}
