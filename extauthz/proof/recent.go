package proof

import (
	"hash/maphash"
	"strings"
	"sync"
)

const (
	recentShards = 16
	perShard     = 128
)

// recent remembers what was made of the texts seen last: at most
// recentShards * perShard of them, whose length the caller bounds. A full
// shard starts anew. Texts are found by a keyed hash, so that nobody can aim at
// a shard, and compared whole, so that a collision is a miss. It is made by
// start; any goroutine may use it.
type recent[V any] struct {
	seed  maphash.Seed
	shard [recentShards]struct {
		sync.RWMutex
		by map[uint64]remembered[V]
	}
}

type remembered[V any] struct {
	text  string
	value V
}

func (r *recent[V]) start() { r.seed = maphash.MakeSeed() }

// get looks a text up. sum is for put.
func (r *recent[V]) get(text string) (v V, sum uint64, ok bool) {
	sum = maphash.String(r.seed, text)
	s := &r.shard[sum%recentShards]
	s.RLock()
	e, there := s.by[sum]
	s.RUnlock()
	if !there || e.text != text {
		return v, sum, false
	}
	return e.value, sum, true
}

// put keeps a value. The text and what the value points to must be the
// table's own: a request's memory is not.
func (r *recent[V]) put(sum uint64, text string, v V) {
	s := &r.shard[sum%recentShards]
	s.Lock()
	if s.by == nil || len(s.by) >= perShard {
		s.by = make(map[uint64]remembered[V], perShard)
	}
	s.by[sum] = remembered[V]{text, v}
	s.Unlock()
}

// keep is put of a text that is the request's.
func (r *recent[V]) keep(sum uint64, text string, v V) { r.put(sum, strings.Clone(text), v) }
