package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/proof"
)

// TestNonceKeys: two replicas whose clocks differ take each other's nonces at
// every moment of a day, over each change of keys; one with another feed key
// takes none.
func TestNonceKeys(t *testing.T) {
	key, other := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	start := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	for second := 0; second < 24*3600; second += 20 {
		now := start.Add(time.Duration(second) * time.Second)
		for _, apart := range []time.Duration{-25 * time.Second, 0, 25 * time.Second, proof.NonceLifetime} {
			var a, b, stranger proof.Nonces
			a.SetKeys(nonceKeys(key, now))
			b.SetKeys(nonceKeys(key, now.Add(apart)))
			stranger.SetKeys(nonceKeys(other, now))
			nonce := a.Issue(now)
			if nonce == "" || !b.Accept(nonce, now.Add(apart)) {
				t.Fatalf("%v: nonce %q is refused by a replica that is %v ahead", now, nonce, apart)
			}
			if stranger.Accept(nonce, now) {
				t.Fatalf("%v: a replica of another feed takes the nonce", now)
			}
		}
	}
	hour, day := nonceKey(key, 10), nonceKey(key, 34)
	if hour.Key == day.Key {
		t.Error("the key does not change")
	}
}
