package cache

import (
	"crypto/sha256"
	"sync"
)

// Beginnings remembers when sessions began whose tokens do not say it: the
// earliest iat seen of each. Without it a refresh, which renews iat, would
// renew the session too. It is bounded: two generations of sessions are kept,
// and one that is seen moves to the younger, so that only a session which was
// silent while half of the bound of others came by is forgotten. What is
// remembered is this replica's own, since its start. The zero Beginnings is
// ready; any goroutine may use it.
type Beginnings struct {
	shard [shards]struct {
		sync.Mutex
		young, old map[Key]int64 // Unix seconds
	}
}

// generation is how many sessions of a shard a generation holds: about a
// million in all, in some 80 MB.
const generation = 8192

// First gives the earliest time seen for a session, issued among them, in
// Unix seconds.
func (b *Beginnings) First(session Key, issued int64) int64 {
	s := &b.shard[session[0]%shards]
	s.Lock()
	defer s.Unlock()
	first, ok := s.young[session]
	if ok && first <= issued {
		return first
	}
	if !ok {
		if old, known := s.old[session]; known && old < issued {
			issued = old
		}
		if s.young == nil || len(s.young) >= generation {
			s.young, s.old = make(map[Key]int64), s.young
		}
	}
	s.young[session] = issued
	return issued
}

// SessionKey names the session of a request: (issuer, sid), else (issuer, sub,
// client, bound key), whose digests carry the issuer (contract §4). ok is false
// where the credential names neither a session nor a subject nor a client.
func (s *Subject) SessionKey() (key Key, ok bool) {
	if key, ok = s.Key(Session); ok {
		return key, true
	}
	user, ok := s.Key(User)
	client, is := s.Key(Client)
	if !ok && !is {
		return Key{}, false
	}
	bound, _ := s.Key(BindingKey)
	var parts [3 * len(key)]byte
	copy(parts[:], user[:])
	copy(parts[len(key):], client[:])
	copy(parts[2*len(key):], bound[:])
	sum := sha256.Sum256(parts[:])
	return Key(sum[:len(key)]), true
}
