package feed

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// A batch of used proofs on the wire; numbers are big-endian:
//
//	version  1
//	sender  16  random, of one process
//	proofs   *  key 16, until 8 (Unix seconds, rounded up); 1 to maxBatch of them
//	mac     32  HMAC-SHA-256 of everything before, under a key made from the feed's
const (
	batchVersion = 1
	senderSize   = 16
	batchHead    = 1 + senderSize
	proofSize    = 16 + 8

	// maxBatch bounds one message; what waits longer goes into the next.
	maxBatch = 512
)

// spent is a proof that was used, and when that may be forgotten.
type spent struct {
	key   [16]byte
	until int64 // Unix seconds
}

// sealBatch makes the message that tells others of proofs.
func sealBatch(key []byte, sender [senderSize]byte, proofs []spent) []byte {
	b := make([]byte, 0, batchHead+len(proofs)*proofSize+macSize)
	b = append(b, batchVersion)
	b = append(b, sender[:]...)
	for i := range proofs {
		b = append(b, proofs[i].key[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(proofs[i].until))
	}
	return appendMAC(b, key, b)
}

// openBatch reads a message: its form and its MAC. Whether the times in it
// make sense is for the caller to say.
func openBatch(key, b []byte) (sender [senderSize]byte, proofs []spent, err error) {
	if len(b) < batchHead+proofSize+macSize || len(b) > batchHead+maxBatch*proofSize+macSize {
		return sender, nil, fmt.Errorf("a batch of proofs has %d bytes", len(b))
	}
	if b[0] != batchVersion {
		return sender, nil, fmt.Errorf("a batch of proofs has version %d, this program reads version %d", b[0], batchVersion)
	}
	covered := b[:len(b)-macSize]
	body := covered[batchHead:]
	if len(body)%proofSize != 0 {
		return sender, nil, errors.New("a batch of proofs does not end with a whole one")
	}
	var want [macSize]byte
	if !hmac.Equal(appendMAC(want[:0], key, covered), b[len(covered):]) {
		return sender, nil, errors.New("the MAC of a batch of proofs does not verify")
	}
	sender = [senderSize]byte(b[1:])
	proofs = make([]spent, 0, len(body)/proofSize)
	for ; len(body) > 0; body = body[proofSize:] {
		proofs = append(proofs, spent{key: [16]byte(body), until: int64(binary.BigEndian.Uint64(body[16:]))})
	}
	return sender, proofs, nil
}

// sane tells whether a proof is still worth to be known, and does not occupy
// room for ever.
func (s *spent) sane(now time.Time) bool {
	return s.until > now.Unix() && s.until <= now.Add(maxAhead).Unix()+1
}
