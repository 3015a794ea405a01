package feed

import (
	"bytes"
	"crypto/hmac"
	"slices"
	"testing"
	"time"
)

var (
	spreadKey  = derive(testKey, spreadLabel)
	testSender = [senderSize]byte{1, 2, 3}
)

func someProofs(n int) []spent {
	proofs := make([]spent, n)
	for i := range proofs {
		proofs[i] = spent{key: [16]byte{byte(i), byte(i >> 8)}, until: 1_700_000_000 + int64(i)}
	}
	return proofs
}

func TestBatch(t *testing.T) {
	for _, n := range []int{1, 2, maxBatch} {
		b := sealBatch(spreadKey, testSender, someProofs(n))
		sender, proofs, err := openBatch(spreadKey, b)
		if err != nil || sender != testSender || !slices.Equal(proofs, someProofs(n)) {
			t.Errorf("%d proofs: %v, sender %x, %v", n, len(proofs), sender, err)
		}
		for at := range min(len(b), 200) {
			for _, bit := range []byte{1, 0x80} {
				altered := bytes.Clone(b)
				altered[at] ^= bit
				if _, _, err := openBatch(spreadKey, altered); err == nil {
					t.Errorf("byte %d was altered and it was taken", at)
				}
			}
		}
	}
	for _, n := range []int{0, maxBatch + 1} {
		if _, _, err := openBatch(spreadKey, sealBatch(spreadKey, testSender, someProofs(n))); err == nil {
			t.Errorf("a batch of %d was taken", n)
		}
	}
	good := sealBatch(spreadKey, testSender, someProofs(3))
	body := good[:len(good)-macSize]
	remade := func(body []byte) []byte { return appendMAC(bytes.Clone(body), spreadKey, body) }
	for name, b := range map[string][]byte{
		"empty":                nil,
		"cut":                  good[:len(good)-1],
		"longer":               append(bytes.Clone(good), 0),
		"half a proof":         remade(body[:len(body)-1]),
		"another version":      remade(append([]byte{2}, body[1:]...)),
		"the feed's own key":   sealBatch(testKey, testSender, someProofs(3)),
		"another feed's key":   sealBatch(derive(bytes.Repeat([]byte{7}, KeySize), spreadLabel), testSender, someProofs(3)),
		"a record of the feed": appendMAC(bytes.Clone(body), testKey, body),
	} {
		if _, _, err := openBatch(spreadKey, b); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestProofSane(t *testing.T) {
	now := time.Unix(1_700_000_000, 5e8)
	for until, want := range map[int64]bool{
		now.Unix() - 1: false, now.Unix(): false, now.Unix() + 1: true, now.Unix() + 3600: true,
		now.Unix() + 3602: false, 1<<63 - 1: false, -1 << 63: false, 0: false,
	} {
		if s := (&spent{until: until}); s.sane(now) != want {
			t.Errorf("until %d: %v", until, !want)
		}
	}
}

// FuzzBatch gives the decoder anything, as it comes and with a MAC that fits.
func FuzzBatch(f *testing.F) {
	for _, n := range []int{0, 1, 3, maxBatch, maxBatch + 1} {
		b := sealBatch(spreadKey, testSender, someProofs(n))
		f.Add(b, false)
		f.Add(b[:len(b)-macSize], true)
		f.Add(b[:len(b)-macSize-1], true)
	}
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal {
			b = appendMAC(bytes.Clone(b), spreadKey, b)
		}
		sender, proofs, err := openBatch(spreadKey, b)
		if err != nil {
			return
		}
		if len(proofs) == 0 || len(proofs) > maxBatch {
			t.Errorf("%d proofs", len(proofs))
		}
		if again := sealBatch(spreadKey, sender, proofs); !hmac.Equal(again, b) {
			t.Errorf("%x was read as %x", b, again)
		}
	})
}
