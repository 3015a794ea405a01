package proof

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// recentSize is how many texts a table remembers: a power of two.
const recentSize = 2048

// recent remembers what was made of the texts seen last: recentSize of them,
// whose length the caller bounds. A text may stand in two places, which a keyed
// hash gives, so that nobody can aim at another's; where both are taken the
// new one pushes one of them out. Texts are compared whole, so that a collision
// is a miss. It is made by start; any goroutine may use it, and none waits.
type recent[V any] struct {
	seed  maphash.Seed
	tail  int // how many bytes at a text's end the hash takes in
	place [recentSize]atomic.Pointer[remembered[V]]
}

// remembered is immutable.
type remembered[V any] struct {
	text  string
	value V
}

func (r *recent[V]) start(tail int) { r.seed, r.tail = maphash.MakeSeed(), tail }

// places are the two of a hash.
func (r *recent[V]) places(sum uint64) (a, b *atomic.Pointer[remembered[V]]) {
	return &r.place[sum%recentSize], &r.place[sum/recentSize%recentSize]
}

// get looks a text up. sum is for put.
func (r *recent[V]) get(text string) (v V, sum uint64, ok bool) {
	sum = maphash.String(r.seed, text[max(0, len(text)-r.tail):])
	a, b := r.places(sum)
	if e := a.Load(); e != nil && e.text == text {
		return e.value, sum, true
	}
	if e := b.Load(); e != nil && e.text == text {
		return e.value, sum, true
	}
	return v, sum, false
}

// put keeps a value. The text and what the value points to must be the
// table's own: a request's memory is not.
func (r *recent[V]) put(sum uint64, text string, v V) {
	a, b := r.places(sum)
	if a.Load() != nil && (b.Load() == nil || sum>>63 == 1) {
		a = b
	}
	a.Store(&remembered[V]{text, v})
}

// keep is put of a text that is the request's.
func (r *recent[V]) keep(sum uint64, text string, v V) { r.put(sum, strings.Clone(text), v) }
