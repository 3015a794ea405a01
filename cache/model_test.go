package cache

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is the index as plain lists, asked from front to back.
type model struct {
	rows  map[Key][]modelRow
	lifts map[Ref]Lift
}

type modelRow struct {
	event Event
	ref   Ref
}

func newModel() *model { return &model{rows: map[Key][]modelRow{}, lifts: map[Ref]Lift{}} }

func (m *model) clone() *model {
	c := newModel()
	for key, rows := range m.rows {
		c.rows[key] = slices.Clone(rows)
	}
	for ref, l := range m.lifts {
		c.lifts[ref] = l
	}
	return c
}

func (m *model) apply(number uint64, events []Event) {
	for i, e := range events {
		ref := Ref{Number: number, Place: uint32(i)}
		if e.Op == OpRevoke {
			m.rows[e.Key] = append(m.rows[e.Key], modelRow{e, ref})
			continue
		}
		m.rows[e.Key] = slices.DeleteFunc(m.rows[e.Key], func(r modelRow) bool {
			if r.ref == e.Lifts {
				m.lifts[r.ref] = Lift{By: ref, At: t0, until: uint32(r.event.Until.Unix())}
			}
			return r.ref == e.Lifts
		})
	}
}

func (m *model) expire(now time.Time) (n int) {
	for key, rows := range m.rows {
		left := slices.DeleteFunc(rows, func(r modelRow) bool { return r.event.Until.Before(now) })
		n += len(rows) - len(left)
		m.rows[key] = left
	}
	for ref, l := range m.lifts {
		if int64(l.until) < now.Unix() {
			delete(m.lifts, ref)
		}
	}
	return n
}

func (m *model) status(s *Subject, began, now time.Time) Hit {
	for _, kind := range AllKinds() {
		key, ok := s.Key(kind)
		if !ok {
			continue
		}
		var best Hit
		add := func(r *modelRow, dated bool) {
			if !r.event.Until.Before(now) && (!dated || !began.After(r.event.Before)) && (best == Hit{} || r.ref.Compare(best.Ref) < 0) {
				best = Hit{Kind: kind, Ref: r.ref, Until: r.event.Until.Unix()}
			}
		}
		for i := range m.rows[key] {
			add(&m.rows[key][i], kind.Dated())
		}
		for _, key := range severalKeys {
			rows := m.rows[key]
			if len(rows) == 0 || !namesAll(&rows[0].event, s, kind) {
				continue
			}
			_, login := inCommon(&rows[0].event, s)
			for i := range rows {
				add(&rows[i], rows[i].event.Kinds.Dated() && !login)
			}
		}
		if best != (Hit{}) {
			return best
		}
	}
	return Hit{}
}

// namesAll is contract §4 in its own words: all members must match, what the
// session lacks matches, one is there, and kind is the first that is.
func namesAll(e *Event, s *Subject, kind Kinds) bool {
	if found, _ := inCommon(e, s); found != kind {
		return false
	}
	if issuer, ok := s.Key(Issuer); ok && issuer != KeyOf(Issuer, "", e.Issuer) {
		return false
	}
	for _, m := range e.Members {
		if key, ok := s.Key(m.Kind); ok && key != KeyOf(m.Kind, e.Issuer, m.Value) {
			return false
		}
	}
	return true
}

// inCommon gives the first member that the session has, and whether it has one
// that names a single login.
func inCommon(e *Event, s *Subject) (found Kinds, login bool) {
	for _, m := range e.Members {
		if _, ok := s.Key(m.Kind); ok {
			if found == 0 {
				found = m.Kind
			}
			login = login || m.Kind == Token || m.Kind == Session || m.Kind == TokenHash
		}
	}
	return found, login
}

// The model's world: keys that all fall into two of the index's shards, so that
// their tables grow and shrink, and a few revocations of several members.
var (
	modelSecret = sipKey{1, 2}
	modelKeys   = crowd(modelSecret, 6000)
	someSeveral = []Event{
		complexEvent(Member{User, "a"}, Member{Device, "d"}),
		complexEvent(Member{User, "a"}, Member{Tenant, "t"}, Member{Device, "d"}),
		complexEvent(Member{User, "b"}, Member{Tenant, "t"}),
		complexEvent(Member{Session, "s"}, Member{User, "a"}),
		complexEvent(Member{BindingKey, "k"}, Member{Device, "e"}),
	}
	severalKeys = keysOf(someSeveral)
)

func complexEvent(members ...Member) Event {
	e := Event{Op: OpRevoke, Issuer: idp, Members: members, Key: KeyOfAll(idp, members), Before: t0, Until: t0.Add(time.Hour)}
	for _, m := range members {
		e.Kinds |= m.Kind
	}
	return e
}

func keysOf(events []Event) (keys []Key) {
	for i := range events {
		keys = append(keys, events[i].Key)
	}
	return keys
}

func crowd(secret sipKey, n int) (keys []Key) {
	for i := uint64(0); len(keys) < n; i++ {
		var key Key
		binary.BigEndian.PutUint64(key[:], i)
		key[15] = byte(i)
		if secret.sum(&key)%tableShards < 2 {
			keys = append(keys, key)
		}
	}
	return keys
}

func modelKind(i int) Kinds { return 1 << (i % numKinds) }

// modelRun is one run of the index beside the model.
type modelRun struct {
	failer
	rnd    *rand.Rand
	x      *Index
	m      *model
	number uint64
	refs   []modelRow // what was ever revoked
}

type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// operations counts what all runs did, to be seen with -v.
var operations atomic.Int64

func second(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }

func (r *modelRun) event() Event {
	if len(r.refs) > 0 && r.rnd.IntN(4) == 0 {
		old := r.refs[r.rnd.IntN(len(r.refs))]
		e := old.event
		e.Op, e.Lifts = OpLift, old.ref
		return e
	}
	e := Event{Op: OpRevoke, Issuer: idp, Before: second(r.rnd.IntN(100)), Until: second(r.rnd.IntN(100))}
	switch r.rnd.IntN(12) {
	case 0:
		several := someSeveral[r.rnd.IntN(len(someSeveral))]
		e.Kinds, e.Key, e.Members = several.Kinds, several.Key, several.Members
	case 1: // one of a few, again and again
		i := r.rnd.IntN(3)
		e.Kinds, e.Key = modelKind(i), modelKeys[i]
	default:
		i := r.rnd.IntN(len(modelKeys))
		e.Kinds, e.Key = modelKind(i), modelKeys[i]
	}
	return e
}

func (r *modelRun) record(n int) {
	r.number += uint64(1 + r.rnd.IntN(3))
	var events []Event
	for place := range n {
		e := r.event()
		if e.Op == OpRevoke {
			r.refs = append(r.refs, modelRow{e, Ref{r.number, uint32(place)}})
		}
		events = append(events, e)
	}
	r.x.Apply(r.number, t0, events)
	r.x.Apply(r.number, t0, events) // once is enough
	r.m.apply(r.number, events)
	operations.Add(int64(n))
}

func (r *modelRun) subject() *Subject {
	var s Subject
	for range 1 + r.rnd.IntN(3) {
		i := r.rnd.IntN(len(modelKeys))
		if r.rnd.IntN(4) == 0 {
			i = r.rnd.IntN(3)
		}
		s.Set(modelKind(i), modelKeys[i])
	}
	if r.rnd.IntN(3) == 0 {
		for _, kind := range []Kinds{Session, User, Tenant, Device, BindingKey} {
			if value := []string{"", "a", "b", "t", "d", "e", "s", "k"}[r.rnd.IntN(8)]; value != "" {
				s.Set(kind, KeyOf(kind, idp, value))
			}
		}
		if other := r.rnd.IntN(4); other > 0 {
			s.Set(Issuer, KeyOf(Issuer, "", []string{"https://other.example", idp, idp}[other-1]))
		}
	}
	return &s
}

func (r *modelRun) statuses(x *Index, m *model, n int) {
	r.Helper()
	for range n {
		s, began, now := r.subject(), second(r.rnd.IntN(101)), second(r.rnd.IntN(101))
		if want, got := m.status(s, began, now), x.Status(s, began, now); got != want {
			r.Fatalf("status is %+v, the model says %+v", got, want)
		}
	}
	operations.Add(int64(n))
}

func (r *modelRun) compare(x *Index, m *model, n int) {
	r.Helper()
	r.statuses(x, m, n)
	var all []Ref
	var count [numKinds]int64
	for key, rows := range m.rows {
		if len(rows) == 0 {
			continue
		}
		var refs []Ref
		for _, row := range rows {
			refs = append(refs, row.ref)
			count[row.event.Kinds.slot()]++
		}
		if got := x.Refs(key); !slices.Equal(refs, got) {
			r.Fatalf("refs of a key are %v, want %v", got, refs)
		}
		all = append(all, refs...)
	}
	slices.SortFunc(all, Ref.Compare)
	if got := x.List(1<<numKinds-1, Ref{}, len(all)+1); !slices.Equal(all, got) {
		r.Fatalf("list of %d, want %d", len(got), len(all))
	}
	for _, kind := range AllKinds() {
		if got := x.Count(kind); got != count[kind.slot()] {
			r.Fatalf("%d of %v, want %d", got, kind, count[kind.slot()])
		}
	}
	for _, row := range r.refs {
		want, ok := m.lifts[row.ref]
		if got, is := x.Lifted(row.ref); got != want || is != ok {
			r.Fatalf("lifted: %v %v, want %v %v", got, is, want, ok)
		}
	}
}

// snapshot makes an image, goes on, writes it, and compares what is read with
// the model of then, and after the same records with that of now.
func (r *modelRun) snapshot() {
	at := Position{Epoch: [16]byte{7}, Number: r.number + 2, Hash: [32]byte{9}}
	image, err := r.x.Freeze(at)
	if err != nil {
		r.Fatal(err)
	}
	then, from := r.m.clone(), r.number
	var later []func(*Index)
	for range r.rnd.IntN(3) {
		n := len(r.refs)
		number := r.number + 3
		r.number += 3
		var events []Event
		for place := range 200 {
			e := r.event()
			if e.Op == OpRevoke {
				r.refs = append(r.refs, modelRow{e, Ref{number, uint32(place)}})
			} else if n > 0 { // of what the image holds
				old := r.refs[r.rnd.IntN(n)]
				e = old.event
				e.Op, e.Lifts = OpLift, old.ref
			}
			events = append(events, e)
		}
		apply := func(x *Index) { x.Apply(number, t0, events) }
		later = append(later, apply)
		apply(r.x)
		r.m.apply(number, events)
	}
	var b bytes.Buffer
	if err := image.Write(&b); err != nil {
		r.Fatal(err)
	}
	y, got, err := ReadSnapshot(&b)
	if err != nil {
		r.Fatal(err)
	}
	if got != at || y.Applied() != from {
		r.Fatalf("snapshot stands at %v, applied %d, want %v, %d", got, y.Applied(), at, from)
	}
	r.compare(y, then, 50)
	for _, apply := range later {
		apply(y)
	}
	r.compare(y, r.m, 50)
	r.x = y
}

// TestIndexModel holds the index to the model over everything that it does.
func TestIndexModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &modelRun{
			failer: t, rnd: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)), //nolint:gosec // drawn
			x: newIndex(modelSecret), m: newModel(),
		}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch rapid.IntRange(0, 7).Draw(t, "op") {
			case 0, 1:
				r.record(rapid.IntRange(1, 8).Draw(t, "events"))
			case 2, 3:
				r.record(rapid.IntRange(1, 1000).Draw(t, "events"))
			case 4:
				now := second(rapid.IntRange(0, 110).Draw(t, "now"))
				if got, want := r.x.Expire(now), r.m.expire(now); got != want {
					t.Fatalf("%d expired, want %d", got, want)
				}
			case 5:
				r.snapshot()
			default:
				r.compare(r.x, r.m, 500)
			}
		}
		r.compare(r.x, r.m, 500)
	})
}

// TestIndexModelLong is one long life of an index: millions of operations.
func TestIndexModelLong(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := &modelRun{failer: t, rnd: rand.New(rand.NewPCG(seed, 0)), x: newIndex(modelSecret), m: newModel()}
	for goal := operations.Load() + modelOperations; operations.Load() < goal; {
		switch r.rnd.IntN(10) {
		case 0:
			now := second(r.rnd.IntN(105))
			if got, want := r.x.Expire(now), r.m.expire(now); got != want {
				t.Fatalf("%d expired, want %d", got, want)
			}
		case 1:
			r.snapshot()
			r.refs = r.refs[max(0, len(r.refs)-10_000):] // the older ones can not be lifted any more
		default:
			r.record(2000)
			r.statuses(r.x, r.m, 8000)
		}
	}
}
