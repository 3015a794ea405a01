package proof

import (
	"hash/maphash"
	"strings"
	"sync"
)

// Certificates remembers the thumbprints of the certificates seen last, by
// what Envoy sends of them: a connection repeats its certificate with every
// request, and reading it anew takes longer than all the rest of a check.
// It holds at most shards * perShard certificates of at most maxCertificate
// bytes; a full shard starts anew. A nil Certificates remembers nothing. Any
// goroutine may use it.
type Certificates struct {
	seed  maphash.Seed
	shard [certificateShards]struct {
		sync.RWMutex
		x5t map[string]string
	}
}

const (
	certificateShards = 16
	perShard          = 128
	maxCertificate    = 8 << 10
)

// NewCertificates returns an empty table.
func NewCertificates() *Certificates { return &Certificates{seed: maphash.MakeSeed()} }

// Thumbprint is the function of that name, remembered.
func (c *Certificates) Thumbprint(certificate string) (x5t string, ok bool) {
	if c == nil || len(certificate) > maxCertificate {
		return Thumbprint(certificate)
	}
	s := &c.shard[maphash.String(c.seed, certificate)%certificateShards]
	s.RLock()
	x5t, ok = s.x5t[certificate]
	s.RUnlock()
	if ok {
		return x5t, true
	}
	if x5t, ok = Thumbprint(certificate); !ok {
		return "", false // not remembered: garbage may not push certificates out
	}
	s.Lock()
	if s.x5t == nil || len(s.x5t) >= perShard {
		s.x5t = make(map[string]string, perShard)
	}
	s.x5t[strings.Clone(certificate)] = x5t // the request's memory is not ours
	s.Unlock()
	return x5t, true
}
