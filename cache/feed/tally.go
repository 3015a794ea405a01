package feed

import (
	"sync"

	"github.com/holdfast-authz/holdfast/cache"
)

// maxTally bounds the revocations whose counts are told to others, and the
// counts of others that are kept; about 100 bytes each. What is beyond is not
// counted, so that a sum is then less than what was denied.
const maxTally = 1 << 17

// tally is what all replicas have denied, revocation by revocation. Each
// replica's own count only rises, and of two reports of it the larger is the
// newer: a report that is lost, doubled or out of order does no harm.
//
// A replica that is no longer there is still counted; those that remain hand
// its counts on to whoever asks. What it has not said when it dies is lost.
type tally struct {
	self [senderSize]byte
	own  *cache.Evidence

	mu     sync.Mutex
	hit    map[cache.Ref]int64 // of our own: until when
	news   map[cache.Ref]int64 // those of them that are to be told
	others map[cache.Ref][]count
	kept   int // how many counts are in others
	lost   uint64
}

func newTally(self [senderSize]byte, own *cache.Evidence) *tally {
	return &tally{self: self, own: own, hit: make(map[cache.Ref]int64), news: make(map[cache.Ref]int64), others: make(map[cache.Ref][]count)}
}

// denied notes that a revocation's own count has risen.
func (t *tally) denied(hit cache.Hit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.hit[hit.Ref]; !known {
		if len(t.hit) >= maxTally {
			t.lost++
			return
		}
		t.hit[hit.Ref] = hit.Until
	}
	t.news[hit.Ref] = hit.Until
}

// untold takes out what is to be told. With all that is every count of our
// own, and those of replicas that are not there to tell them.
func (t *tally) untold(all bool, there func(replica [senderSize]byte) bool) (counts []count) {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := t.news
	if all {
		from = t.hit
	}
	for ref, until := range from {
		counts = append(counts, count{t.self, ref, until, t.own.Get(ref)})
	}
	clear(t.news)
	if !all {
		return counts
	}
	for _, of := range t.others {
		for _, c := range of {
			if !there(c.replica) {
				counts = append(counts, c)
			}
		}
	}
	return counts
}

// again puts back counts that could not be told.
func (t *tally) again(counts []count) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range counts {
		if c.replica == t.self {
			t.news[c.ref] = c.until
		}
	}
}

// merge takes what another replica told.
func (t *tally) merge(counts []count) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range counts {
		if c.replica != t.self && c.Count > 0 {
			t.take(c)
		}
	}
}

func (t *tally) take(c count) {
	of := t.others[c.ref]
	for i := range of {
		if of[i].replica == c.replica {
			if c.Count > of[i].Count {
				of[i] = c
			}
			return
		}
	}
	if t.kept >= maxTally {
		t.lost++
		return
	}
	t.others[c.ref] = append(of, c)
	t.kept++
}

// sum gives what all replicas together have denied by a revocation.
func (t *tally) sum(ref cache.Ref) cache.Enforced {
	all := t.own.Get(ref)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.others[ref] {
		if all.Count == 0 || c.First.Before(all.First) {
			all.First = c.First
		}
		if c.Last.After(all.Last) {
			all.Last = c.Last
		}
		all.Count += c.Count
	}
	return all
}

// expire forgets the revocations that ended before now, in Unix seconds.
func (t *tally) expire(now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for ref, until := range t.hit {
		if until < now {
			delete(t.hit, ref)
			delete(t.news, ref)
		}
	}
	for ref, of := range t.others {
		if of[0].until < now {
			delete(t.others, ref)
			t.kept -= len(of)
		}
	}
}
