package memo

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func digestOf(i int) *[32]byte {
	d := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
	return &d
}

func newMemo(t *testing.T, c Config) *Memo {
	t.Helper()
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []Config{{}, {TTL: time.Minute}, {MaxMB: 8}, {TTL: -1, MaxMB: 8}, {TTL: time.Minute, MaxMB: -1}} {
		if _, err := New(c); err == nil {
			t.Errorf("New(%+v) accepts", c)
		}
	}
}

func TestGetGivesWhatWasPut(t *testing.T) {
	m := newMemo(t, Config{TTL: time.Minute, MaxMB: 8})
	if _, ok := m.Get(digestOf(1), nil); ok {
		t.Error("hit in an empty memo")
	}
	for i := range 100 {
		m.Put(digestOf(i), fmt.Appendf(nil, "value %d", i))
	}
	m.Put(digestOf(7), []byte("newer"))
	for i := range 100 {
		want := fmt.Sprintf("value %d", i)
		if i == 7 {
			want = "newer"
		}
		if v, ok := m.Get(digestOf(i), nil); !ok || string(v) != want {
			t.Errorf("Get(%d) = %q, %v", i, v, ok)
		}
	}
	if s := m.Stats(); s.Hits != 100 || s.Misses != 1 || s.Entries != 100 || s.Bytes == 0 {
		t.Errorf("stats %+v", s)
	}
}

// The caller may alias the value for ever.
func TestValueIsACopy(t *testing.T) {
	m := newMemo(t, Config{TTL: time.Minute, MaxMB: 1})
	m.Put(digestOf(1), []byte("first"))
	v, _ := m.Get(digestOf(1), nil)
	for i := range 10_000 {
		m.Put(digestOf(i), bytes.Repeat([]byte{'x'}, 1000))
	}
	if string(v) != "first" {
		t.Errorf("value became %q", v)
	}
}

// CA06: bigcache's Get hands out what is past its window; this one does not.
func TestValueEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := New(Config{TTL: 1500 * time.Millisecond, MaxMB: 1})
		if err != nil {
			t.Fatal(err)
		}
		m.Put(digestOf(1), []byte("v"))
		time.Sleep(1499 * time.Millisecond)
		if _, ok := m.Get(digestOf(1), nil); !ok {
			t.Error("gone before its time")
		}
		time.Sleep(time.Millisecond)
		if _, ok := m.Get(digestOf(1), nil); ok {
			t.Error("there when its time is over")
		}
		if s := m.Stats(); s.Expired != 1 {
			t.Errorf("stats %+v", s)
		}
		m.Put(digestOf(1), []byte("again"))
		if v, ok := m.Get(digestOf(1), nil); !ok || string(v) != "again" {
			t.Errorf("put again: %q, %v", v, ok)
		}
	})
}

// CA09: whatever else stands in the table is a miss.
func TestForeignEntriesMiss(t *testing.T) {
	for name, entry := range map[string][]byte{
		"empty":               {},
		"shorter than header": {1, 2, 3},
		"end long past":       binary.LittleEndian.AppendUint64(nil, 0),
		"end far ahead":       binary.LittleEndian.AppendUint64(nil, uint64(48*time.Hour)),
		"end negative":        binary.LittleEndian.AppendUint64(nil, 1<<63),
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemo(t, Config{TTL: time.Minute, MaxMB: 1})
			if err := m.cache.Set(keyOf(digestOf(1)), entry); err != nil {
				t.Fatal(err)
			}
			if v, ok := m.Get(digestOf(1), nil); ok {
				t.Errorf("hit %q", v)
			}
		})
	}
}

// A value larger than a shard would empty the shard before it fails.
func TestLargeValueEvictsNothing(t *testing.T) {
	for _, mb := range []int{1, 2, 3, 8, 64} {
		m := newMemo(t, Config{TTL: time.Minute, MaxMB: mb})
		for i := range 100 {
			m.Put(digestOf(i), []byte("small"))
		}
		for i := range 64 * 4 {
			m.Put(digestOf(1000+i), make([]byte, MaxValueBytes+1))
		}
		for i := range 100 {
			if _, ok := m.Get(digestOf(i), nil); !ok {
				t.Fatalf("%d MB: small value %d was lost", mb, i)
			}
		}
		m.Put(digestOf(1), make([]byte, MaxValueBytes))
		if v, ok := m.Get(digestOf(1), nil); !ok || len(v) != MaxValueBytes {
			t.Errorf("%d MB: a value of the largest size is not kept", mb)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m := newMemo(t, Config{TTL: time.Hour, MaxMB: 2})
	for i := range 20_000 {
		m.Put(digestOf(i), make([]byte, 1000))
	}
	if s := m.Stats(); s.Bytes > 2<<20 || s.Dropped != 0 {
		t.Errorf("stats %+v", s)
	}
	if _, ok := m.Get(digestOf(19_999), nil); !ok {
		t.Error("the newest value is not there")
	}
}

// CA03: two memos place one digest differently, so collisions can not be prepared.
func TestHasherIsKeyed(t *testing.T) {
	a, b := hasher{seed: maphash.MakeSeed()}, hasher{seed: maphash.MakeSeed()}
	for i := range 64 {
		if key := keyOf(digestOf(i)); a.Sum64(key) == b.Sum64(key) {
			t.Errorf("digest %d hashes alike under two keys", i)
		}
	}
}

// CA03: even where all digests collide, a key gives its own value or none.
func TestCollisionIsAMiss(t *testing.T) {
	m, err := newWith(Config{TTL: time.Minute, MaxMB: 1}, constant{})
	if err != nil {
		t.Fatal(err)
	}
	m.Put(digestOf(1), []byte("one"))
	m.Put(digestOf(2), []byte("two"))
	if v, ok := m.Get(digestOf(1), nil); ok {
		t.Errorf("digest 1 gives %q", v)
	}
	if v, ok := m.Get(digestOf(2), nil); !ok || string(v) != "two" {
		t.Errorf("digest 2 gives %q, %v", v, ok)
	}
}

type constant struct{}

func (constant) Sum64(string) uint64 { return 42 }

func TestClose(t *testing.T) {
	m := newMemo(t, Config{TTL: time.Minute, MaxMB: 1})
	m.Put(digestOf(1), []byte("v"))
	m.Close()
	m.Close()
	m.Put(digestOf(2), []byte("v"))
	for i := range 3 {
		if _, ok := m.Get(digestOf(i), nil); ok {
			t.Errorf("hit %d after Close", i)
		}
	}
}

func TestManyGoroutines(t *testing.T) {
	m := newMemo(t, Config{TTL: time.Minute, MaxMB: 1})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 3000 {
				n := (i*7 + g) % 500
				want := fmt.Appendf(nil, "%d:%0*d", n, n, n)
				if v, ok := m.Get(digestOf(n), nil); ok && !bytes.Equal(v, want) {
					t.Errorf("digest %d gives another's value %q", n, v)
					return
				}
				m.Put(digestOf(n), want)
			}
		})
	}
	wg.Wait()
}

func TestGetAllocs(t *testing.T) {
	m := newMemo(t, Config{TTL: time.Minute, MaxMB: 1})
	d := digestOf(1)
	m.Put(d, make([]byte, 500))
	// bigcache copies the key and the value.
	if n := testing.AllocsPerRun(200, func() { m.Get(d, nil) }); n > 2 {
		t.Errorf("Get allocates %v times", n)
	}
}

func BenchmarkGet(b *testing.B) {
	m, err := New(Config{TTL: time.Hour, MaxMB: 8})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	d := digestOf(1)
	m.Put(d, make([]byte, 500))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := m.Get(d, nil); !ok {
			b.Fatal("miss")
		}
	}
}
