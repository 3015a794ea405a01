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
	for i := range x.shard {
		s := &x.shard[i]
		s.RLock()
		for _, entries := range s.live {
			for j := range entries {
				e := &entries[j]
				if e.kind&kinds == 0 || e.ref.Compare(after) <= 0 {
					continue
				}
				if found = append(found, e.ref); len(found) >= 2*n+1024 {
					keep()
				}
			}
		}
		s.RUnlock()
	}
	keep()
	return found
}

// Compare orders revocations as the feed does.
func (r Ref) Compare(other Ref) int {
	return cmp.Or(cmp.Compare(r.Number, other.Number), cmp.Compare(r.Place, other.Place))
}
