package jwks

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"slices"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

// Status is one issuer's keys and how their refreshes go.
type Status struct {
	Issuer string    `json:"issuer"`
	Source string    `json:"source"` // file, url or discovery
	From   string    `json:"from"`   // path or URL of the key set, "" before it is discovered
	Usable bool      `json:"usable"` // KeySet has a set
	Keys   []KeyInfo `json:"keys"`   // of the last good set, in its order

	LastSuccess time.Time `json:"last_success,omitzero"`
	LastError   string    `json:"last_error,omitempty"` // the last there was; see Failing
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	Failing     bool      `json:"failing"` // the last refresh failed
	Next        time.Time `json:"next,omitzero"`

	OK     uint64 `json:"ok"`     // refreshes that found good keys
	Failed uint64 `json:"failed"` // and that did not
}

// KeyInfo names a key.
type KeyInfo struct {
	ID   string `json:"kid"`
	Alg  string `json:"alg,omitempty"`
	Type string `json:"kty"`
}

func (s *source) status(now time.Time) Status {
	rep := s.report.Load()
	st := Status{
		Issuer: s.spec.Issuer, Source: "url", From: rep.location,
		LastError: rep.lastError, LastErrorAt: rep.errorAt, Failing: s.faults.Load() > 0,
		OK: s.ok.Load(), Failed: s.failed.Load(),
	}
	switch {
	case s.spec.File != "":
		st.Source = "file"
	case s.spec.Discover:
		st.Source = "discovery"
	}
	_, st.Usable = s.usable(now)
	if h := s.keys.Load(); h != nil {
		st.LastSuccess = h.at
		for _, k := range h.set.Keys() {
			st.Keys = append(st.Keys, KeyInfo{k.ID, k.Alg, keyType(k)})
		}
	}
	if next := s.next.Load(); next != nil {
		st.Next = *next
	}
	return st
}

func kids(set *jose.KeySet) []string {
	out := make([]string, 0, len(set.Keys()))
	for _, k := range set.Keys() {
		out = append(out, k.ID)
	}
	return out
}

// difference is the kids that only the new set has, and only the old one.
func difference(old, set *jose.KeySet) (added, removed []string) {
	before, after := kids(old), kids(set)
	for _, k := range after {
		if !slices.Contains(before, k) {
			added = append(added, k)
		}
	}
	for _, k := range before {
		if !slices.Contains(after, k) {
			removed = append(removed, k)
		}
	}
	return added, removed
}

// keyType is the JWK kty of a key.
func keyType(k jose.Key) string {
	switch k.Public.(type) {
	case *ecdsa.PublicKey:
		return "EC"
	case *rsa.PublicKey:
		return "RSA"
	case ed25519.PublicKey:
		return "OKP"
	}
	return ""
}
