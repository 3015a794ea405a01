package proof

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"sync/atomic"
	"time"
)

// Times of a nonce. It is good from the step it names to the end of the
// lifeSteps that follow, at least NonceLifetime after it was given out, and at
// most a step longer; and one step before its own, for a replica whose clock
// is behind.
const (
	nonceStep = 30 * time.Second
	lifeSteps = 4

	NonceLifetime = lifeSteps * nonceStep
)

// A nonce is base64url of its step and a MAC over it: 32 characters.
const (
	stepBytes  = 8
	macBytes   = 16
	nonceChars = (stepBytes + macBytes) * 4 / 3
	nonceLabel = "holdfast dpop nonce\x00"
)

// NonceKey is a secret shared by all replicas, and when it comes into use. Hand
// one out before its Start, so that every replica knows it by then. The key of
// all zeros is no key.
type NonceKey struct {
	Key   [32]byte
	Start time.Time
}

func (k *NonceKey) usable() bool { return k.Key != [32]byte{} }

// Nonces makes and knows the nonces of RFC 9449, 8 and 9 without remembering
// any: every replica with the same keys gives out the same one at the same
// time, and takes those of the others. A nonce says when it was made and may
// be used many times; that a proof is used once is the replay table's matter.
// Nobody without a key can make one for a time to come. The zero Nonces has no
// keys and accepts nothing; a nil one neither. Any goroutine may use it.
type Nonces struct {
	keys atomic.Pointer[nonceKeys]
}

// nonceKeys never change; a rotation makes new ones.
type nonceKeys struct {
	current, previous NonceKey
	last              atomic.Pointer[issued] // the nonce of the step
}

type issued struct {
	step  int64
	key   *NonceKey
	nonce string
}

// SetKeys replaces the keys. previous may be zero; it signs until
// current.Start and is accepted for NonceLifetime (and a step) after it.
func (n *Nonces) SetKeys(current, previous NonceKey) {
	n.keys.Store(&nonceKeys{current: current, previous: previous})
}

// Ready tells whether there is a key to give out nonces with.
func (n *Nonces) Ready() bool {
	if n == nil {
		return false
	}
	k := n.keys.Load()
	return k != nil && (k.current.usable() || k.previous.usable())
}

// Issue gives the nonce of the moment; "" without a key.
func (n *Nonces) Issue(now time.Time) string {
	if !n.Ready() {
		return ""
	}
	k := n.keys.Load()
	key := &k.current
	if !key.usable() || now.Before(key.Start) && k.previous.usable() {
		key = &k.previous
	}
	step := stepOf(now)
	if last := k.last.Load(); last != nil && last.step == step && last.key == key {
		return last.nonce
	}
	var raw [stepBytes + macBytes]byte
	binary.BigEndian.PutUint64(raw[:], uint64(step))
	key.mac(step, raw[stepBytes:])
	nonce := base64.RawURLEncoding.EncodeToString(raw[:])
	k.last.Store(&issued{step, key, nonce})
	return nonce
}

// Accept tells whether a nonce is one of ours and still good.
func (n *Nonces) Accept(nonce string, now time.Time) bool {
	_, ok := n.accept(nonce, now)
	return ok
}

// accept says also when it will be good no more.
func (n *Nonces) accept(nonce string, now time.Time) (end time.Time, ok bool) {
	if !n.Ready() || len(nonce) != nonceChars {
		return time.Time{}, false
	}
	// 32 characters fill 24 bytes: there are no stray bits, and a line end,
	// which the decoder skips, makes it too short.
	var raw [stepBytes + macBytes]byte
	if size, err := base64.RawURLEncoding.Decode(raw[:], []byte(nonce)); err != nil || size != len(raw) {
		return time.Time{}, false
	}
	step, today := int64(binary.BigEndian.Uint64(raw[:])), stepOf(now)
	// step is the sender's number: compare before any arithmetic with it.
	if step < today-lifeSteps || step > today+1 {
		return time.Time{}, false
	}
	k := n.keys.Load()
	end = time.Unix(0, 0).Add(time.Duration(step+lifeSteps+1) * nonceStep)
	if k.current.made(step, raw[stepBytes:]) {
		return end, true
	}
	retired := now.After(k.current.Start.Add(NonceLifetime + nonceStep))
	return end, (!k.current.usable() || !retired) && k.previous.made(step, raw[stepBytes:])
}

func stepOf(now time.Time) int64 { return now.Unix() / int64(nonceStep/time.Second) }

func (k *NonceKey) made(step int64, mac []byte) bool {
	var want [macBytes]byte
	k.mac(step, want[:])
	return k.usable() && subtle.ConstantTimeCompare(want[:], mac) == 1
}

// mac is HMAC-SHA-256 over the step, cut to 128 bits.
func (k *NonceKey) mac(step int64, dst []byte) {
	h := hmac.New(sha256.New, k.Key[:])
	h.Write([]byte(nonceLabel))
	var number [stepBytes]byte
	binary.BigEndian.PutUint64(number[:], uint64(step))
	h.Write(number[:])
	var sum [sha256.Size]byte
	copy(dst, h.Sum(sum[:0]))
}
