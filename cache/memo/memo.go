// Package memo remembers what was learnt of a token (that its signature
// verifies, that it does not) so that the next check spares the mathematics.
// It is bigcache behind five rules, because everything in it may be lost, late
// or crafted:
//
//   - It holds only what can be found out again. A miss is always safe;
//     revocations and replay records never come here.
//   - Keys are 32-byte digests: bigcache keeps a key's length in 16 bits and
//     panics on a longer one.
//   - The hasher is keyed and new for each Memo. Colliding digests can not be
//     prepared, and two that collide by chance are told apart by their bytes.
//   - Age stands in the value and is checked when it is read, by the monotonic
//     clock: bigcache hands out what is past its window, and a wall clock that
//     steps back would keep it alive.
//   - A value has a largest size. One that is larger than a shard would empty it.
//
// bigcache runs without its cleaning goroutine: an entry past its time is
// dropped when the next one is put into its shard.
package memo

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/allegro/bigcache/v3"
)

// MaxValueBytes is the largest value that is kept.
const MaxValueBytes = 32 << 10

// shards spread the locks; a shard of the smallest memo holds half a megabyte,
// many times the largest value.
const (
	shards       = 64
	shardsOfMB   = 2 // shards for each MB while there are fewer than 64
	headerBytes  = 8 // when the value ends, in nanoseconds since the Memo's start
	initialSize  = 512
	initialCount = 64 // entries a shard has room for before it grows
)

// Config sizes a Memo.
type Config struct {
	TTL   time.Duration // how long a value is given back; from 1ms, no default
	MaxMB int           // bound of the values' memory; from 1, no default
}

// Memo is a bounded table that forgets. Any goroutine may use it.
type Memo struct {
	cache  *bigcache.BigCache
	ttl    time.Duration
	start  time.Time // carries the monotonic clock
	closed atomic.Bool

	hits, misses, expired, dropped atomic.Uint64
}

// New makes an empty Memo.
func New(c Config) (*Memo, error) { return newWith(c, hasher{seed: maphash.MakeSeed()}) }

func newWith(c Config, hash bigcache.Hasher) (*Memo, error) {
	if c.TTL < time.Millisecond {
		return nil, fmt.Errorf("memo ttl %v is below 1ms", c.TTL)
	}
	if c.MaxMB < 1 {
		return nil, errors.New("memo max_mb is below 1: it would grow without bound")
	}
	cache, err := bigcache.New(context.Background(), bigcache.Config{
		Shards:             min(shards, floorPower(shardsOfMB*c.MaxMB)),
		LifeWindow:         c.TTL + time.Second, // whole seconds; never before the value's own end
		MaxEntriesInWindow: initialCount,
		MaxEntrySize:       initialSize,
		HardMaxCacheSize:   c.MaxMB,
		Hasher:             hash,
	})
	if err != nil {
		return nil, fmt.Errorf("make bigcache: %w", err)
	}
	return &Memo{cache: cache, ttl: c.TTL, start: time.Now()}, nil
}

// floorPower is the largest power of two up to n; bigcache takes no other number.
func floorPower(n int) int {
	p := 1
	for 2*p <= n {
		p *= 2
	}
	return p
}

// hasher is maphash under a key of its own.
type hasher struct{ seed maphash.Seed }

// Sum64 never gives 0, which bigcache keeps for entries that were deleted.
func (h hasher) Sum64(key string) uint64 {
	if sum := maphash.String(h.seed, key); sum != 0 {
		return sum
	}
	return 1
}

// Get gives the value put under a digest, if it is still known and young. The
// caller owns the value: it is a copy of its own and not in dst's memory, so
// that strings may alias it.
func (m *Memo) Get(digest *[32]byte, _ []byte) (v []byte, ok bool) {
	if m.closed.Load() {
		return nil, false
	}
	entry, err := m.cache.Get(keyOf(digest))
	if err != nil || len(entry) < headerBytes {
		m.misses.Add(1)
		return nil, false
	}
	left := time.Duration(binary.LittleEndian.Uint64(entry)) - time.Since(m.start)
	if left <= 0 || left > m.ttl {
		m.expired.Add(1)
		return nil, false
	}
	m.hits.Add(1)
	return entry[headerBytes:], true
}

// Put keeps a copy of v until the TTL is over or room is needed.
func (m *Memo) Put(digest *[32]byte, v []byte) {
	if m.closed.Load() {
		return
	}
	if len(v) > MaxValueBytes {
		m.dropped.Add(1)
		return
	}
	entry := make([]byte, headerBytes, headerBytes+len(v))
	binary.LittleEndian.PutUint64(entry, uint64(time.Since(m.start)+m.ttl))
	if m.cache.Set(keyOf(digest), append(entry, v...)) != nil {
		m.dropped.Add(1)
	}
}

// keyOf lends the digest's bytes to bigcache, which compares or copies a key
// and does not keep it.
func keyOf(digest *[32]byte) string { return unsafe.String(&digest[0], len(digest)) }

// Stats are a Memo's counters since its start.
type Stats struct {
	Hits, Misses, Expired uint64 // of Get; Expired were found and too old
	Dropped               uint64 // of Put: too large, or no room
	Entries               int    // also those whose time is over
	Bytes                 int    // memory taken for values
}

// Stats reads the counters.
func (m *Memo) Stats() Stats {
	return Stats{
		Hits: m.hits.Load(), Misses: m.misses.Load(), Expired: m.expired.Load(), Dropped: m.dropped.Load(),
		Entries: m.cache.Len(), Bytes: m.cache.Capacity(),
	}
}

// Close forgets everything; afterwards every Get is a miss. It may be called
// twice, which bigcache's own may not.
func (m *Memo) Close() {
	if !m.closed.Swap(true) {
		_ = m.cache.Reset()
	}
}
