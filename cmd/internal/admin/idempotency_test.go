package admin

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/feed"
)

func keyed(key, body string) ask {
	return ask{"POST", "/v1/revocations", body, map[string]string{"Idempotency-Key": key}}
}

// TestIdempotency repeats requests: AD06 and contract §10.
func TestIdempotency(t *testing.T) {
	w := start(t)
	first := w.do(t, keyed("k1", session("x")))
	if first.status != 201 || first.header.Get("Idempotency-Replayed") != "" {
		t.Fatalf("%d %s", first.status, first.body)
	}
	again := w.do(t, keyed("k1", session("x")))
	if again.status != 201 || again.body != first.body || again.header.Get("Idempotency-Replayed") != "true" ||
		again.header.Get("Location") != first.header.Get("Location") {
		t.Errorf("again: %d %s", again.status, again.body)
	}
	waited := w.do(t, ask{"POST", "/v1/revocations?wait=1s", session("x"), map[string]string{"Idempotency-Key": "k1"}}).json(t)
	if waited["id"] != first.json(t)["id"] || waited["applied"] != 1.0 {
		t.Errorf("again with wait: %v", waited)
	}
	for name, body := range map[string]string{
		"another value": session("y"), "white space": " " + session("x"), "an array": "[" + session("x") + "]", "not even JSON": "x",
	} {
		got := w.do(t, keyed("k1", body))
		if got.status != 409 || got.json(t)["code"] != "idempotency_key_reused" {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	if other := w.do(t, keyed("k2", session("x"))).json(t); other["id"] == first.json(t)["id"] {
		t.Error("another key gave the same revocation")
	}
	if n := w.inForce(); n != 2 {
		t.Errorf("%d in force", n)
	}
	// What was refused has not used its key up.
	if got := w.do(t, keyed("k3", session("*"))); got.status != 400 {
		t.Error(got.status)
	}
	if got := w.do(t, keyed("k3", session("z"))); got.status != 201 {
		t.Errorf("%d %s", got.status, got.body)
	}
	// An array is answered as an array again.
	many := w.do(t, keyed("k4", "["+session("a")+","+session("b")+"]"))
	if again := w.do(t, keyed("k4", "["+session("a")+","+session("b")+"]")); again.body != many.body || again.status != 201 {
		t.Errorf("array again: %d %s", again.status, again.body)
	}
	// After it was lifted the answer says so, and it stays lifted.
	path := first.header.Get("Location")
	if got := w.do(t, ask{method: "DELETE", path: path}); got.status != 204 {
		t.Error(got.status)
	}
	lifted := w.do(t, keyed("k1", session("x")))
	if got := lifted.json(t); lifted.status != 201 || got["id"] != first.json(t)["id"] || got["lifted"] != w.get(t, path).json(t)["lifted"] || got["lifted"] == nil {
		t.Errorf("after the lift: %s", lifted.body)
	}
	if n := w.inForce(); n != 4 {
		t.Errorf("%d in force", n)
	}
}

// TestIdempotencyRestart: the keys live in the feed.
func TestIdempotencyRestart(t *testing.T) {
	w := start(t)
	first := w.do(t, keyed("k", "["+session("a")+","+session("b")+"]"))
	w = startOver(t, w.memory) // another process over the same log
	if n := w.inForce(); n != 2 {
		t.Fatalf("%d in force after the replay", n)
	}
	if again := w.do(t, keyed("k", "["+session("a")+","+session("b")+"]")); again.body != first.body {
		t.Errorf("after a restart: %d %s, before %s", again.status, again.body, first.body)
	}
	if got := w.do(t, keyed("k", session("c"))); got.status != 409 {
		t.Errorf("another body after a restart: %d", got.status)
	}
}

// TestIdempotencyRace sends one request many times at once: one revocation.
func TestIdempotencyRace(t *testing.T) {
	w := start(t)
	var wg sync.WaitGroup
	ids := make([]string, 16)
	for i := range ids {
		wg.Go(func() { ids[i] = fmt.Sprint(w.do(t, keyed("k", session("x"))).json(t)["id"]) })
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("ids %v", ids)
		}
	}
	if n := w.inForce(); n != 1 {
		t.Errorf("%d in force", n)
	}
}

// TestIdempotencyOverReplicas sends one request to two replicas of one feed at
// once, many times, and then again: one revocation, the same answer. Another
// body is refused at both.
func TestIdempotencyOverReplicas(t *testing.T) {
	a := start(t)
	b := startOver(t, a.memory)
	for round := range 20 {
		key, body := fmt.Sprint("k", round), session(fmt.Sprint("x", round))
		var wg sync.WaitGroup
		ids := make([]string, 8)
		for i := range ids {
			wg.Go(func() { ids[i] = fmt.Sprint([]*world{a, b}[i%2].do(t, keyed(key, body)).json(t)["id"]) })
		}
		wg.Wait()
		for _, id := range ids {
			if id != ids[0] {
				t.Fatalf("ids %v", ids)
			}
		}
		for _, w := range []*world{a, b} {
			if got := w.do(t, keyed(key, body)); got.json(t)["id"] != ids[0] || got.header.Get("Idempotency-Replayed") != "true" {
				t.Errorf("again: %s", got.body)
			}
			if got := w.do(t, keyed(key, session("other"))); got.status != 409 {
				t.Errorf("another body: %d", got.status)
			}
		}
	}
	for _, w := range []*world{a, b} {
		eventually(t, "twenty in force", func() bool { return w.inForce() == 20 })
	}
}

// TestRequests is the table by itself: what it keeps, and for how long.
func TestRequests(t *testing.T) {
	q := newRequests()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	key := func(i int) cache.Key { return digest("test", []byte(fmt.Sprint(i))) }
	event := func(i int) cache.Event { return cache.Event{Op: cache.OpRevoke, Request: key(i), Content: key(-i)} }
	find := func(i int, now time.Time) (answered, bool) {
		was, found, done, err := q.begin(t.Context(), key(i), now)
		if err != nil {
			t.Fatal(err)
		}
		done()
		return was, found
	}
	q.note(7, now, []cache.Event{{Op: cache.OpRevoke}, event(1), event(1), event(2), {Op: cache.OpLift, Request: key(3)}}, now)
	q.note(8, now, []cache.Event{event(1)}, now) // the first use counts
	q.note(9, now.Add(-25*time.Hour), []cache.Event{event(4)}, now)
	was, found := find(1, now)
	if want := (answered{key(-1), cache.Ref{Number: 7, Place: 1}, 2, now}); !found || was != want {
		t.Errorf("got %+v", was)
	}
	if was, found := find(2, now); !found || was.first != (cache.Ref{Number: 7, Place: 3}) || was.count != 1 {
		t.Errorf("got %+v", was)
	}
	for _, i := range []int{3, 4, 5} {
		if _, found := find(i, now); found {
			t.Errorf("key %d is there", i)
		}
	}
	if _, found := find(1, now.Add(23*time.Hour)); !found {
		t.Error("forgotten after 23 h")
	}
	if _, found := find(1, now.Add(25*time.Hour)); found {
		t.Error("kept for 25 h")
	}
	for i := range maxRequests + 100 {
		q.note(uint64(10+i), now, []cache.Event{event(1000 + i)}, now)
	}
	if !q.note(1<<40, now, nil, now) {
		t.Error("that keys were forgotten early is not said")
	}
	if len(q.seen) != maxRequests || len(q.order) != maxRequests {
		t.Errorf("%d keys are kept", len(q.seen))
	}
	if q.note(1<<41, now, nil, now.Add(25*time.Hour)) {
		t.Error("keys of a day ago are no loss")
	}
	if len(q.seen)+len(q.order)+len(q.busy) != 0 {
		t.Errorf("%d keys are kept after a day", len(q.seen))
	}
}

// FuzzDecodeOrder holds the decoder against encoding/json: what it takes means
// the same there, and no input makes it fail otherwise than by a problem.
func FuzzDecodeOrder(f *testing.F) {
	for _, seed := range []string{
		session("x"), "[" + session("x") + "]", `{"kind":"session","kind":"session"}`, `{"value":"\ud83d\ude00"}`, `{"value":"\ud800"}`,
		`[{"force":true},{"ttl":""},[],null,1]`, `{"":{}}`, "[]", "{}", `"`, "\xff", `{"value":"\\ud800"}`, `{"value":"\\\ud800"}`, `{"a~/b":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := decodeOrder(body)
		if err != nil {
			if _, ok := err.(*problem); !ok { //nolint:errorlint // it is not wrapped
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		for _, fault := range o.faults {
			if len(fault.Pointer) > 100 || fault.Detail == "" {
				t.Fatalf("fault %+v", fault)
			}
		}
		if len(o.items) == 0 || len(o.items) > maxItems {
			t.Fatalf("%d items", len(o.items))
		}
		if len(o.faults) > 0 {
			return
		}
		type loose struct {
			Kind      string `json:"kind"`
			Value     string `json:"value"`
			Issuer    string `json:"issuer"`
			NotBefore string `json:"not_before"`
			TTL       string `json:"ttl"`
			Reason    string `json:"reason"`
			Force     bool   `json:"force"`
		}
		var want []loose
		if o.array {
			err = json.Unmarshal(body, &want)
		} else {
			want = make([]loose, 1)
			err = json.Unmarshal(body, &want[0])
		}
		if err != nil {
			t.Fatalf("taken, and encoding/json says %v", err)
		}
		got := make([]loose, len(o.items))
		for i, it := range o.items {
			got[i] = loose(it)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		events, err := o.events(&Config{Retention: time.Hour, Issuers: []Issuer{{Name: idp, MaxLife: time.Minute}}}, time.Now(), false)
		if err != nil {
			return
		}
		if _, err := cache.DecodeEvents(cache.EncodeEvents(nil, events)); err != nil {
			t.Fatalf("the feed would refuse it: %v", err)
		}
	})
}

// TestRepeatIsConfirmed: a record that was met in the feed, though its append
// had failed, is no answer to a repeat until it is known to be durable.
func TestRepeatIsConfirmed(t *testing.T) {
	w := start(t)
	w.memory.Fail(func(op feed.Op, _ uint64) error {
		if op == feed.OpStored { // stored, and the answer is an error
			return fmt.Errorf("fsync: input/output error: %w", feed.ErrRefused)
		}
		return nil
	})
	if got := w.do(t, keyed("k", session("x"))); got.status != 503 {
		t.Fatalf("first: %d %s", got.status, got.body)
	}
	eventually(t, "the record that should not be", func() bool { return w.inForce() == 1 })
	if got := w.do(t, keyed("k", session("x"))); got.status != 503 {
		t.Errorf("repeat while nothing is durable: %d %s", got.status, got.body)
	}
	w.memory.Fail(nil)
	if got := w.do(t, keyed("k", session("x"))); got.status != 201 || w.inForce() != 1 {
		t.Errorf("repeat afterwards: %d %s, %d in force", got.status, got.body, w.inForce())
	}
}
