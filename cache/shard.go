package cache

import (
	"sync"
	"sync/atomic"
)

const (
	tableShards = 256 // a byte of the keyed hash

	// A table is rebuilt with a sixteenth more pages when it is 95 % full: it
	// is between 89 and 95 % full ever after, and an insert costs another
	// sixteen in memory that is at hand. It is rebuilt smaller when it is less
	// than half as full.
	fullPerCent = 93
	growBy      = 16

	// tableShare is how many revocations of one key stand in the table. Its two
	// buckets have room for sixteen; more of one key are kept aside.
	tableShare = 4

	// tries bounds a reader that meets one move after another; then it waits
	// for the writer's lock.
	tries = 64
)

// shard is a part of the index. Its lock is the writer's: of who applies, who
// expires and who copies for an image. Readers take none, unless something of
// the shard is kept aside.
type shard struct {
	mu       sync.Mutex
	table    atomic.Pointer[table] // nil: never used
	taken    int                   // entries in the table
	earliest uint32                // nothing in the table ends before it

	aside struct {
		n  atomic.Int64 // 0 spares the reader its lock
		mu sync.RWMutex
		of map[tag]*rows
	}
}

// rows are a key's revocations that are not in the table, oldest first.
type rows struct {
	list          []entry
	before, until uint32 // the latest of each: one look tells that none hits
}

// find gives the first revocation in the order of the feed that hits.
func (s *shard) find(g tag, kind uint8, began, now int64) entry {
	best := s.inTable(g, kind, began, now)
	// Second: what moves from the table to here is put here first.
	if s.aside.n.Load() != 0 {
		s.aside.mu.RLock()
		if r := s.aside.of[g]; r != nil {
			best = first(best, r.find(kind, began, now))
		}
		s.aside.mu.RUnlock()
	}
	return best
}

func (s *shard) inTable(g tag, kind uint8, began, now int64) entry {
	for range tries {
		t := s.table.Load()
		if t == nil {
			return entry{}
		}
		if best, ok := t.find(g, kind, began, now); ok && s.table.Load() == t {
			return best
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	best, _ := s.table.Load().find(g, kind, began, now)
	return best
}

func (r *rows) find(kind uint8, began, now int64) entry {
	if all := (entry{before: r.before, until: r.until}); !all.hits(began, now) {
		return entry{}
	}
	for i := range r.list {
		if r.list[i].kind == kind && r.list[i].hits(began, now) {
			return r.list[i]
		}
	}
	return entry{}
}

// The rest is for who holds s.mu.

// insert adds an entry: to the table, else aside. It never fails.
func (s *shard) insert(from *pages, g tag, e entry) {
	if !e.fits() {
		s.setAside(g, e)
		return
	}
	t := s.table.Load()
	if t == nil {
		t = newTable(from, 1)
		s.put(t)
	}
	same := 0
	t.of(g, func(*bucket, int) { same++ })
	if same >= tableShare {
		s.setAside(g, e)
		return
	}
	if (s.taken+1)*100 > t.slots()*fullPerCent {
		t = s.resize(from, len(t.pages)+max(1, len(t.pages)/growBy))
	}
	times, refs := e.words(g.tail)
	if !t.insert(g.print, times, refs) {
		if t = s.resize(from, len(t.pages)+1); !t.insert(g.print, times, refs) {
			s.setAside(g, e) // nobody can bring this about who does not know the hash's key
			return
		}
	}
	s.note(e.until)
}

// note counts an entry that was put in the table.
func (s *shard) note(until uint32) {
	if s.taken == 0 {
		s.earliest = never
	}
	s.taken++
	s.earliest = min(s.earliest, until)
}

// resize fills a table of that many pages with the entries and puts it in place.
func (s *shard) resize(from *pages, count int) *table {
	old, t := s.table.Load(), newTable(from, count)
	old.all(func(b *bucket, slot int) {
		if !t.insert(b.print[slot], b.times[slot], b.refs[slot]) {
			s.setAside(b.tag(slot), b.entry(slot))
			s.taken--
		}
	})
	s.put(t)
	from.put(old.pages) // only now: a reader that is late finds t in place, and looks again
	return t
}

func (s *shard) put(t *table) {
	t.apart = false
	s.table.Store(t)
}

func (s *shard) setAside(g tag, e entry) {
	s.aside.mu.Lock()
	defer s.aside.mu.Unlock()
	if s.aside.of == nil {
		s.aside.of = make(map[tag]*rows)
	}
	r := s.aside.of[g]
	if r == nil {
		r = &rows{}
		s.aside.of[g] = r
	}
	// In the order of the feed: only a table that is rebuilt brings an older one.
	at := len(r.list)
	for at > 0 && r.list[at-1].ref.Compare(e.ref) > 0 {
		at--
	}
	r.list = append(r.list, entry{})
	copy(r.list[at+1:], r.list[at:])
	r.list[at] = e
	r.before, r.until = max(r.before, e.before), max(r.until, e.until)
	s.aside.n.Add(1)
}

// each calls do with every entry of a key.
func (s *shard) each(g tag, do func(e entry)) {
	if t := s.table.Load(); t != nil {
		t.of(g, func(b *bucket, slot int) { do(b.entry(slot)) })
	}
	if r := s.aside.of[g]; r != nil {
		for _, e := range r.list {
			do(e)
		}
	}
}

// all calls do with every entry.
func (s *shard) all(do func(g tag, e entry)) {
	if t := s.table.Load(); t != nil {
		t.all(func(b *bucket, slot int) { do(b.tag(slot), b.entry(slot)) })
	}
	for g, r := range s.aside.of {
		for _, e := range r.list {
			do(g, e)
		}
	}
}

// remove takes out the entry of a key that has this ref.
func (s *shard) remove(g tag, ref Ref) (old entry, ok bool) {
	if t := s.table.Load(); t != nil {
		t.of(g, func(b *bucket, slot int) {
			if e := b.entry(slot); e.ref == ref {
				old, ok = e, true
				b.clear(slot)
				s.taken--
			}
		})
	}
	if !ok && s.aside.of[g] != nil {
		s.dropAside(g, func(e *entry) bool {
			if e.ref == ref {
				old, ok = *e, true
			}
			return e.ref == ref
		})
	}
	return old, ok
}

// expire takes out what ended before now and tells gone of each.
func (s *shard) expire(from *pages, now int64, gone func(e entry)) {
	ended := func(e *entry) bool {
		if int64(e.until) >= now || e.until == never {
			return false
		}
		gone(*e)
		return true
	}
	for g := range s.aside.of {
		s.dropAside(g, ended)
	}
	t := s.table.Load()
	if t == nil || int64(s.earliest) >= now || s.earliest == never {
		return
	}
	earliest := uint32(never)
	t.all(func(b *bucket, slot int) {
		if e := b.entry(slot); ended(&e) {
			b.clear(slot)
			s.taken--
		} else {
			earliest = min(earliest, e.until)
		}
	})
	s.earliest = earliest
	if want := s.taken*100/(fullPerCent*pageSlots) + 1; want*2 < len(t.pages) {
		s.resize(from, want+want/growBy)
	}
}

func (s *shard) dropAside(g tag, gone func(*entry) bool) {
	r := s.aside.of[g]
	kept := &rows{}
	for i := range r.list {
		if e := r.list[i]; !gone(&e) {
			kept.list = append(kept.list, e)
			kept.before, kept.until = max(kept.before, e.before), max(kept.until, e.until)
		}
	}
	if len(kept.list) == len(r.list) {
		return
	}
	s.aside.mu.Lock()
	defer s.aside.mu.Unlock()
	if len(kept.list) == 0 {
		delete(s.aside.of, g)
	} else {
		s.aside.of[g] = kept
	}
	s.aside.n.Add(int64(len(kept.list) - len(r.list)))
}
