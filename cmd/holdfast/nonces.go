package main

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/proof"
)

// nonceKeyLife is how long a key gives out DPoP nonces.
const nonceKeyLife = time.Hour

// nonceKeys are the key of an hour and that of the next one. They come from
// the feed's key, which all replicas have, so that each takes the nonces of
// the others, and those of before its own start, and nothing has to be handed
// around. The old key goes when all that it made are too old.
func nonceKeys(feedKey []byte, now time.Time) (next, current proof.NonceKey) {
	const old = 2 * proof.NonceLifetime
	hour := now.Add(-old).Unix() / int64(nonceKeyLife/time.Second)
	return nonceKey(feedKey, hour+1), nonceKey(feedKey, hour)
}

func nonceKey(feedKey []byte, hour int64) proof.NonceKey {
	k := proof.NonceKey{Start: time.Unix(hour*int64(nonceKeyLife/time.Second), 0)}
	raw, err := hkdf.Key(sha256.New, feedKey, nil, fmt.Sprintf("holdfast dpop nonce, hour %d", hour), len(k.Key))
	if err != nil {
		return proof.NonceKey{} // no key: no nonce is taken. It can not be: the length is one digest's
	}
	copy(k.Key[:], raw)
	return k
}

// rotateNonces keeps the keys of the hour in force.
func (p *process) rotateNonces(ctx context.Context) error {
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		p.nonces.SetKeys(nonceKeys(p.feedKey, p.clock.Read(time.Now())))
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
