package cache

import (
	"encoding/binary"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// TestBeginningsModel holds the table to a plain map, below its bound.
func TestBeginningsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Beginnings
		model := map[Key]int64{}
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			key := Key{rapid.ByteRange(0, 200).Draw(t, "session")}
			issued := rapid.Int64Range(0, 20).Draw(t, "issued")
			if first, ok := model[key]; !ok || issued < first {
				model[key] = issued
			}
			if got := b.First(key, issued); got != model[key] {
				t.Fatalf("first is %d, want %d", got, model[key])
			}
		}
	})
}

// TestBeginningsBound: memory stays bounded, and a session that is seen now
// and then outlives any number of others.
func TestBeginningsBound(t *testing.T) {
	var b Beginnings
	lasting := Key{7, 7, 7}
	b.First(lasting, 100)
	for i := range uint64(5 * generation) {
		var key Key
		key[0] = lasting[0]
		binary.BigEndian.PutUint64(key[8:], i)
		b.First(key, 1000)
		if i%(generation/2) == 0 {
			if got := b.First(lasting, 5000); got != 100 {
				t.Fatalf("after %d others the session began at %d", i, got)
			}
		}
	}
	s := &b.shard[lasting[0]%shards]
	if n := len(s.young) + len(s.old); n > 2*generation {
		t.Errorf("%d sessions in one shard", n)
	}
}

func TestBeginningsRace(t *testing.T) {
	var b Beginnings
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() {
			for i := range 1000 {
				b.First(Key{byte(i)}, int64(1000-i+w))
			}
		})
	}
	workers.Wait()
	if got := b.First(Key{byte(999 % 256)}, 5000); got != 1 {
		t.Errorf("first is %d", got)
	}
}

func TestSessionKey(t *testing.T) {
	of := func(kinds map[Kinds]string) Key { k, _ := subject(kinds).SessionKey(); return k }
	bySID := of(map[Kinds]string{Session: "s", User: "alice", Client: "a"})
	if bySID != KeyOf(Session, idp, "s") {
		t.Error("a sid names the session alone")
	}
	byUser := of(map[Kinds]string{User: "alice", Client: "a"})
	for name, other := range map[string]Key{
		"another client": of(map[Kinds]string{User: "alice", Client: "b"}),
		"no client":      of(map[Kinds]string{User: "alice"}),
		"another user":   of(map[Kinds]string{User: "bob", Client: "a"}),
		"a bound key":    of(map[Kinds]string{User: "alice", Client: "a", BindingKey: "k"}),
	} {
		if other == byUser {
			t.Errorf("%s: the same session", name)
		}
	}
	if of(map[Kinds]string{Client: "a"}) == (Key{}) || of(map[Kinds]string{Client: "a"}) == of(map[Kinds]string{User: "a"}) {
		t.Error("a client alone is a session of its own: opaque tokens of client_credentials have no sub")
	}
	if _, ok := subject(map[Kinds]string{Tenant: "a", BindingKey: "k"}).SessionKey(); ok {
		t.Error("a tenant is a session")
	}
}
