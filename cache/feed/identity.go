package feed

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Labels of the keys that are derived from the feed's key (RFC 5869, 3.2), one
// for each use. The feed's key itself only ever makes the MACs of records.
const (
	nkeyLabel   = "holdfast/feed/1 nkey of the replicas"
	spreadLabel = "holdfast/feed/1 mac of spread proofs"
	claimLabel  = "holdfast/feed/1 names of claimed proofs"
	noticeLabel = "holdfast/feed/1 mac of the replicas' notices"
	imageLabel  = "holdfast/feed/1 mac of the index's snapshot"
)

// derive makes a key for one use from the feed's key.
func derive(key []byte, label string) []byte {
	b, err := hkdf.Key(sha256.New, key, nil, label, KeySize)
	if err != nil {
		panic(err) // of a length that is a constant
	}
	return b
}

// replicaKey is the NATS user that all replicas of one feed are: an Ed25519
// pair that whoever has the feed's key can make. A server is told the public
// half, and each connection signs the server's challenge with the other.
func replicaKey(key []byte) (public string, sign nats.SignatureHandler, err error) {
	if len(key) != KeySize {
		return "", nil, fmt.Errorf("the feed's key has %d bytes, not %d", len(key), KeySize)
	}
	pair, err := nkeys.FromRawSeed(nkeys.PrefixByteUser, derive(key, nkeyLabel))
	if err != nil {
		return "", nil, fmt.Errorf("derive the replicas' key: %w", err)
	}
	if public, err = pair.PublicKey(); err != nil {
		return "", nil, fmt.Errorf("derive the replicas' key: %w", err)
	}
	return public, pair.Sign, nil
}
