package cache

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The scale of design.md §9 beside a baseline: a Go map in 64 shards with a
// lock each, as the index once was. Run with
//
//	go test -run '^$' -bench 'Index' ./cache

const million = 1_000_000

// benchKey is the i-th of an endless row of random keys (splitmix64).
func benchKey(i uint64) (k Key) {
	mix := func(z uint64) uint64 {
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
	binary.LittleEndian.PutUint64(k[:], mix(2*i*0x9e3779b97f4a7c15))
	binary.LittleEndian.PutUint64(k[8:], mix((2*i+1)*0x9e3779b97f4a7c15))
	return k
}

// fill applies n revocations, in records of a thousand, that end within a day
// from t0.
func fill(apply func(uint64, time.Time, []Event), n uint64) {
	events := make([]Event, 0, 1000)
	for i := range n {
		events = append(events, Event{
			Op: OpRevoke, Kinds: User, Key: benchKey(i), Before: t0, Until: t0.Add(time.Hour + time.Duration(i%86400)*time.Second),
		})
		if len(events) == cap(events) || i == n-1 {
			apply(i/1000+1, t0, events)
			events = events[:0]
		}
	}
}

// mapIndex is the baseline.
type mapIndex struct {
	shard [shards]struct {
		sync.RWMutex
		live map[Key][]entry
	}
}

func (x *mapIndex) apply(number uint64, _ time.Time, events []Event) {
	for i := range events {
		e := &events[i]
		s := &x.shard[e.Key[0]%shards]
		s.Lock()
		if s.live == nil {
			s.live = make(map[Key][]entry)
		}
		s.live[e.Key] = append(s.live[e.Key], entry{Ref{number, uint32(i)}, 2, clamp(e.Before), clamp(e.Until)})
		s.Unlock()
	}
}

func (x *mapIndex) status(s *Subject, began, now time.Time) Hit {
	for slot := range numKinds {
		if s[slot] == (Key{}) {
			continue
		}
		shard := &x.shard[s[slot][0]%shards]
		shard.RLock()
		entries := shard.live[s[slot]]
		shard.RUnlock()
		for i := range entries {
			if entries[i].hits(began.Unix(), now.Unix()) {
				return Hit{1 << slot, entries[i].ref, entries[i].end()}
			}
		}
	}
	return Hit{}
}

// BenchmarkIndexStatus asks for one kind of random sessions. Both wait for
// memory most of the time, so the time of one random read is measured too.
func BenchmarkIndexStatus(b *testing.B) {
	memory := make([]uint64, 1<<25)
	for i := range memory {
		k := benchKey(uint64(i))
		memory[i] = binary.LittleEndian.Uint64(k[:]) % uint64(len(memory))
	}
	b.Run("one-read", func(b *testing.B) {
		at := uint64(0)
		for step := uint64(0); b.Loop(); step++ {
			at = (memory[at] + step*7919) % uint64(len(memory))
		}
		memory[0] = at
	})
	for _, n := range []uint64{million, 10 * million} {
		table, plain := NewIndex(), &mapIndex{}
		fill(table.Apply, n)
		fill(plain.apply, n)
		for _, ask := range []struct {
			what string
			from uint64
		}{{"hit", 0}, {"miss", 1 << 40}} {
			var ns [2]float64
			for i, of := range []struct {
				what   string
				status func(*Subject, time.Time, time.Time) Hit
			}{{"map", plain.status}, {"table", table.Status}} {
				b.Run(fmt.Sprintf("%dM/%s/%s", n/million, ask.what, of.what), func(b *testing.B) {
					b.ReportAllocs()
					var s Subject
					step := uint64(0)
					for b.Loop() {
						step += 7919
						s[2] = benchKey(ask.from + step%n)
						if hit := of.status(&s, t0, t0) != (Hit{}); hit != (ask.from == 0) {
							b.Fatal("wrong answer")
						}
					}
					ns[i] = float64(b.Elapsed().Nanoseconds()) / float64(b.N)
					if i == 1 {
						b.ReportMetric(ns[1]/ns[0], "x-of-map")
					}
				})
			}
		}
	}
}

// BenchmarkIndexTail asks one session after another, while 4 million more
// entries are applied and then expired in slices: what a lookup takes then. It
// shares two cores with the writer and the collector, so the same is measured
// of the clock alone, beside the same work: what the machine takes away.
func BenchmarkIndexTail(b *testing.B) {
	for b.Loop() {
		x := NewIndex()
		fill(x.Apply, 6*million)
		var done atomic.Bool
		go func() {
			fill(func(number uint64, at time.Time, events []Event) {
				for i := range events {
					events[i].Key[3] ^= 0x55
				}
				x.Apply(1<<20+number, at, events)
			}, 4*million)
			for hour := range 26 {
				x.Expire(t0.Add(time.Duration(hour) * time.Hour))
			}
			done.Store(true)
		}()
		var took [2][]time.Duration // of the clock, of a lookup
		for i := range took {
			took[i] = make([]time.Duration, 0, 1<<26)
		}
		var s Subject
		for i := uint64(0); !done.Load(); i += 7919 {
			s[2] = benchKey(i % (10 * million))
			start := time.Now()
			clock := time.Now()
			x.Status(&s, t0, t0)
			end := time.Now()
			took[0], took[1] = append(took[0], clock.Sub(start)), append(took[1], end.Sub(clock))
		}
		for i, what := range []string{"clock", "lookup"} {
			slices.Sort(took[i])
			for name, share := range map[string]float64{"p50": .5, "p99": .99, "p99.9": .999} {
				b.ReportMetric(float64(took[i][int(float64(len(took[i]))*share)]), what+"-"+name+"-ns")
			}
		}
		b.ReportMetric(float64(len(took[1])), "lookups")
	}
}

// BenchmarkIndexProcess measures whole processes, each of its own: RSS with 10
// million entries, the time to write a snapshot and to load it.
func BenchmarkIndexProcess(b *testing.B) {
	file := filepath.Join(b.TempDir(), "snapshot")
	for b.Loop() {
		var map10 float64
		for _, what := range []string{"empty", "map", "table", "write", "load"} {
			got := child(b, what, file)
			for unit, v := range got {
				b.ReportMetric(v, what+"-"+unit)
			}
			if what == "map" {
				map10 = got["MB"]
			}
			if what == "load" {
				b.ReportMetric(got["MB"]/map10, "MB-x-of-map")
			}
		}
	}
}

const childVerb = "HOLDFAST_CACHE_CHILD"

func TestMain(m *testing.M) {
	if what := os.Getenv(childVerb); what != "" {
		measure(what, os.Args[len(os.Args)-1])
		return
	}
	os.Exit(m.Run())
}

func child(b *testing.B, what, file string) (got map[string]float64) {
	b.Helper()
	cmd := exec.Command(os.Args[0], file)
	cmd.Env = append(os.Environ(), childVerb+"="+what)
	out, err := cmd.Output()
	if err != nil {
		b.Fatal(err)
	}
	if err := json.Unmarshal(out, &got); err != nil {
		b.Fatal(err)
	}
	return got
}

// measure is what the child does.
func measure(what, file string) {
	x, plain := NewIndex(), &mapIndex{}
	got := map[string]float64{}
	start := time.Now()
	switch what {
	case "map":
		fill(plain.apply, 10*million)
	case "table", "write":
		fill(x.Apply, 10*million)
	case "load":
		f, err := os.Open(file)
		must(err)
		x, _, err = ReadSnapshot(f)
		must(err)
	}
	got["ms"] = float64(time.Since(start).Milliseconds())
	if what == "write" {
		start = time.Now()
		f, err := os.Create(file)
		must(err)
		image, err := x.Freeze(Position{Number: x.Applied()})
		must(err)
		must(image.Write(f))
		got["ms"] = float64(time.Since(start).Milliseconds())
	}
	runtime.GC()
	start = time.Now()
	runtime.GC()
	got["gc-ms"] = float64(time.Since(start).Microseconds()) / 1000
	got["MB"], got["peak-MB"] = resident("VmRSS"), resident("VmHWM")
	must(json.NewEncoder(os.Stdout).Encode(got))
	runtime.KeepAlive(x)
	runtime.KeepAlive(plain)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// resident reads a line of this process's status, in MB.
func resident(line string) float64 {
	status, err := os.ReadFile("/proc/self/status")
	must(err)
	for s := bufio.NewScanner(bytes.NewReader(status)); s.Scan(); {
		if value, ok := strings.CutPrefix(s.Text(), line+":"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(value)[0], 64)
			must(err)
			return kb * 1024 / 1e6
		}
	}
	panic("no " + line)
}
