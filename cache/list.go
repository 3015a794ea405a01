package cache

import (
	"cmp"
	"slices"
)

// List gives the first n revocations in force of some kinds that come after
// one in the order of the feed; the zero Ref starts at the beginning. It walks
// the whole index, a shard at a time: it is for people, not for checks. What
// is applied meanwhile may be missing.
func (x *Index) List(kinds Kinds, after Ref, n int) []Ref {
	if n <= 0 {
		return nil
	}
	var found []Ref
	keep := func() {
		slices.SortFunc(found, Ref.Compare)
		found = found[:min(n, len(found))]
	}
	add := func(e entry, of Kinds) {
		if of&kinds == 0 || e.ref.Compare(after) <= 0 {
			return
		}
		if found = append(found, e.ref); len(found) >= 2*n+1024 {
			keep()
		}
	}
	for i := range x.shard {
		s := &x.shard[i]
		s.mu.Lock()
		s.all(func(_ tag, e entry) { add(e, 1<<e.kind) })
		s.mu.Unlock()
	}
	for i := range x.several.shard {
		for _, r := range x.several.rows(i) {
			add(r.entry, r.kinds)
		}
	}
	keep()
	return found
}

// Compare orders revocations as the feed does.
func (r Ref) Compare(other Ref) int {
	return cmp.Or(cmp.Compare(r.Number, other.Number), cmp.Compare(r.Place, other.Place))
}
