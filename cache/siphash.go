package cache

import (
	"encoding/binary"
	"math/bits"
)

// sipKey is the secret under which an index places its entries. Whoever can
// choose what is revoked (their own session ids, say) can neither crowd one
// bucket nor search for an id that the table takes for somebody else's.
type sipKey [2]uint64

// sum is SipHash-2-4 (Aumasson and Bernstein, 2012) of a key's 16 bytes.
func (k *sipKey) sum(key *Key) uint64 {
	v0, v1 := k[0]^0x736f6d6570736575, k[1]^0x646f72616e646f6d
	v2, v3 := k[0]^0x6c7967656e657261, k[1]^0x7465646279746573
	for _, m := range [3]uint64{
		binary.LittleEndian.Uint64(key[:8]),
		binary.LittleEndian.Uint64(key[8:]),
		uint64(len(key)) << 56,
	} {
		v3 ^= m
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= m
	}
	v2 ^= 0xff
	for range 4 {
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	}
	return v0 ^ v1 ^ v2 ^ v3
}

func sipRound(v0, v1, v2, v3 uint64) (_, _, _, _ uint64) {
	v0, v1, v2, v3 = sipHalf(v0, v1, v2, v3, 13, 16)
	v2, v1, v0, v3 = sipHalf(v2, v1, v0, v3, 17, 21)
	return v0, v1, v2, v3
}

func sipHalf(a, b, c, d uint64, s, t int) (_, _, _, _ uint64) {
	a, c = a+b, c+d
	b, d = bits.RotateLeft64(b, s)^a, bits.RotateLeft64(d, t)^c
	return bits.RotateLeft64(a, 32), b, c, d
}
