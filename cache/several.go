package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
)

const shards = 64

// several are the revocations that name several members. Which of them hit a
// session depends on which of their members it has: each stands under the
// digest of every part of its members, and a session asks, for each set of
// kinds in use, under the digest of the part that it has. So all that it finds
// there names it, however many others share a member with it. There are few
// such revocations, and they may be large: they are on Go's heap, behind small
// locks.
type several struct {
	sets  atomic.Pointer[[]setInUse] // nil spares the lookup
	shard [shards]struct {
		sync.RWMutex
		under map[Key]*rowsOf
		own   map[Key][]*row // by the revocation's own key
	}
}

// setInUse is a set of kinds and how many revocations name just these.
type setInUse struct {
	kinds Kinds
	n     int
}

// rowsOf are rows in the order of the feed.
type rowsOf struct {
	list          []*row
	before, until uint32 // the latest of each: one look tells that none hits
}

// row is one of the revocations.
type row struct {
	entry
	key    Key
	kinds  Kinds
	issuer Key     // KeyOf(Issuer, "", issuer)
	member Subject // its keys; zero where it names none
}

const issuerSlot = 5 // of Issuer

func newRow(e *Event, add entry) *row {
	r := &row{entry: add, key: e.Key, kinds: e.Kinds, issuer: KeyOf(Issuer, "", e.Issuer)}
	for _, m := range e.Members {
		r.member.Set(m.Kind, KeyOf(m.Kind, e.Issuer, m.Value))
	}
	return r
}

// part is the digest of some members of a set.
func (s *Subject) part(set, part Kinds) Key {
	var b [4 + MaxMembers*len(Key{})]byte
	binary.BigEndian.PutUint16(b[:], uint16(set))
	binary.BigEndian.PutUint16(b[2:], uint16(part))
	n := 4
	for rest := part; rest != 0; rest &= rest - 1 {
		n += copy(b[n:], s[rest.slot()][:])
	}
	sum := sha256.Sum256(b[:n])
	return Key(sum[:len(Key{})])
}

// has is the set of kinds that the session has.
func (s *Subject) has() (kinds Kinds) {
	for slot := range numKinds {
		if s[slot] != (Key{}) {
			kinds |= 1 << slot
		}
	}
	return kinds
}

// find gives the first that hits a session whose first member in common with
// it is in slot. All that both have must be equal; what the session lacks
// counts as equal.
func (v *several) find(s *Subject, slot int, began, now int64) (best entry) {
	sets := v.sets.Load()
	if sets == nil {
		return best
	}
	has := s.has()
	for _, set := range *sets {
		common := set.kinds & has
		if common == 0 || common.slot() != slot {
			continue
		}
		from := began
		if common&(Token|Session|TokenHash) != 0 {
			from = 0 // the very session: a refresh does not make it another
		}
		best = first(best, v.findIn(s.part(set.kinds, common), s[issuerSlot], from, now))
	}
	return best
}

func (v *several) findIn(part, issuer Key, began, now int64) entry {
	shard := &v.shard[part[0]%shards]
	shard.RLock()
	defer shard.RUnlock()
	rows := shard.under[part]
	if rows == nil {
		return entry{}
	}
	if all := (entry{before: rows.before, until: rows.until}); !all.hits(began, now) {
		return entry{}
	}
	for _, r := range rows.list {
		// Keys that are the same at every issuer do not hold it.
		if (issuer == (Key{}) || issuer == r.issuer) && r.hits(began, now) {
			return r.entry
		}
	}
	return entry{}
}

func (v *several) refs(key Key) (refs []Ref) {
	shard := &v.shard[key[0]%shards]
	shard.RLock()
	defer shard.RUnlock()
	for _, r := range shard.own[key] {
		refs = append(refs, r.ref)
	}
	return refs
}

// rows gives those of one shard, by their own key.
func (v *several) rows(i int) (rows []*row) {
	shard := &v.shard[i]
	shard.RLock()
	defer shard.RUnlock()
	for _, own := range shard.own {
		rows = append(rows, own...)
	}
	return rows
}

// insert, remove and expire are the writer's.

func (v *several) insert(r *row) {
	v.use(r.kinds, 1)
	// A part is a number from 1 to all members: take them by counting down.
	for part := r.kinds; part != 0; part = (part - 1) & r.kinds {
		under := r.member.part(r.kinds, part)
		shard := &v.shard[under[0]%shards]
		shard.Lock()
		if shard.under == nil {
			shard.under = make(map[Key]*rowsOf)
		}
		if shard.under[under] == nil {
			shard.under[under] = &rowsOf{}
		}
		shard.under[under].add(r)
		shard.Unlock()
	}
	shard := &v.shard[r.key[0]%shards]
	shard.Lock()
	defer shard.Unlock()
	if shard.own == nil {
		shard.own = make(map[Key][]*row)
	}
	shard.own[r.key] = append(shard.own[r.key], r)
}

func (v *rowsOf) add(r *row) {
	at := len(v.list)
	for at > 0 && v.list[at-1].ref.Compare(r.ref) > 0 { // of an image
		at--
	}
	v.list = slices.Insert(v.list, at, r)
	v.before, v.until = max(v.before, r.before), max(v.until, r.until)
}

func (v *several) remove(key Key, ref Ref) *row {
	shard := &v.shard[key[0]%shards]
	shard.RLock()
	i := slices.IndexFunc(shard.own[key], func(r *row) bool { return r.ref == ref })
	if i < 0 {
		shard.RUnlock()
		return nil
	}
	r := shard.own[key][i]
	shard.RUnlock()
	v.drop(r)
	return r
}

func (v *several) drop(r *row) {
	is := func(o *row) bool { return o == r }
	for part := r.kinds; part != 0; part = (part - 1) & r.kinds {
		under := r.member.part(r.kinds, part)
		shard := &v.shard[under[0]%shards]
		shard.Lock()
		rows := shard.under[under]
		if rows.list = slices.DeleteFunc(rows.list, is); len(rows.list) == 0 {
			delete(shard.under, under)
		}
		shard.Unlock()
	}
	shard := &v.shard[r.key[0]%shards]
	shard.Lock()
	if own := slices.DeleteFunc(shard.own[r.key], is); len(own) > 0 {
		shard.own[r.key] = own
	} else {
		delete(shard.own, r.key)
	}
	shard.Unlock()
	v.use(r.kinds, -1)
}

// use counts who names a set of kinds.
func (v *several) use(kinds Kinds, n int) {
	var sets []setInUse
	if old := v.sets.Load(); old != nil {
		sets = slices.Clone(*old)
	}
	i := slices.IndexFunc(sets, func(s setInUse) bool { return s.kinds == kinds })
	if i < 0 {
		i, sets = len(sets), append(sets, setInUse{kinds: kinds})
	}
	if sets[i].n += n; sets[i].n == 0 {
		sets = slices.Delete(sets, i, i+1)
	}
	if len(sets) == 0 {
		v.sets.Store(nil)
		return
	}
	v.sets.Store(&sets)
}

// expire goes through each shard once, however many end together.
func (v *several) expire(now int64, gone func(entry)) {
	if v.sets.Load() == nil {
		return
	}
	ended := func(r *row) bool { return r.end() < now }
	for i := range v.shard {
		shard := &v.shard[i]
		shard.Lock()
		for key, own := range shard.own {
			for _, r := range own {
				if ended(r) {
					v.use(r.kinds, -1)
					gone(r.entry)
				}
			}
			if own = slices.DeleteFunc(own, ended); len(own) > 0 {
				shard.own[key] = own
			} else {
				delete(shard.own, key)
			}
		}
		for part, rows := range shard.under {
			if rows.list = slices.DeleteFunc(rows.list, ended); len(rows.list) == 0 {
				delete(shard.under, part)
			}
		}
		shard.Unlock()
	}
}
