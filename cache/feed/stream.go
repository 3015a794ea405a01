package feed

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// inCluster is how many servers of a cluster keep a stream.
	inCluster = 3
	// errNoPeers: the cluster has too few servers for a stream's replicas.
	errNoPeers jetstream.ErrorCode = 10005
)

// streamConfig is a stream that keeps everything: no limit discards a record,
// nobody can delete one or replace it.
func streamConfig(s streams, replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              string(s),
		Description:       "Holdfast's feed of revocations: never trim, edit or mirror it by hand",
		Subjects:          []string{s.subject()},
		Retention:         jetstream.LimitsPolicy,
		MaxConsumers:      -1,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxMsgsPerSubject: -1,
		MaxMsgSize:        -1,
		Discard:           jetstream.DiscardNew,
		Storage:           jetstream.FileStorage,
		Replicas:          replicas,
		DenyDelete:        true,
		DenyPurge:         true,
	}
}

// differences lists what of a stream's configuration would let records vanish,
// change, or come back.
func differences(have, want *jetstream.StreamConfig) []string {
	var found []string
	check := func(name string, have, want any) {
		if have != want {
			found = append(found, fmt.Sprintf("%s is %v, not %v", name, have, want))
		}
	}
	check("subjects", strings.Join(have.Subjects, " "), strings.Join(want.Subjects, " "))
	check("retention", have.Retention, want.Retention)
	check("storage", have.Storage, want.Storage)
	check("discard", have.Discard, want.Discard)
	check("discard_new_per_subject", have.DiscardNewPerSubject, want.DiscardNewPerSubject)
	check("max_age", have.MaxAge, want.MaxAge)
	check("max_msgs", have.MaxMsgs, want.MaxMsgs)
	check("max_bytes", have.MaxBytes, want.MaxBytes)
	check("max_msgs_per_subject", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	check("max_msg_size", have.MaxMsgSize, want.MaxMsgSize)
	check("deny_delete", have.DenyDelete, want.DenyDelete)
	check("deny_purge", have.DenyPurge, want.DenyPurge)
	check("allow_rollup_hdrs", have.AllowRollup, false)
	check("allow_msg_ttl", have.AllowMsgTTL, false)
	check("no_ack", have.NoAck, false)
	check("sealed", have.Sealed, false)
	check("mirror", have.Mirror != nil, false)
	check("sources", len(have.Sources), 0)
	check("subject_transform", have.SubjectTransform != nil, false)
	check("first_seq", max(have.FirstSeq, 1), uint64(1))
	check("persist_mode", have.PersistMode, want.PersistMode)
	check("num_replicas", have.Replicas, want.Replicas)
	return found
}

// createStream makes a stream: on as many servers as a cluster can give, up to
// inCluster, and on one where there is no cluster. want makes the
// configuration for a number of them.
func createStream(ctx context.Context, js jetstream.JetStream, l *link, want func(replicas int) jetstream.StreamConfig) (jetstream.Stream, error) {
	if !l.cluster || l.conn.ConnectedClusterName() == "" {
		return js.CreateStream(ctx, want(1))
	}
	stream, err := js.CreateStream(ctx, want(inCluster))
	var api *jetstream.APIError
	// Of a cluster that is large enough some servers may just be away: then the
	// stream is not made smaller for that.
	if errors.As(err, &api) && api.ErrorCode == errNoPeers && servers(l.conn) < inCluster {
		stream, err = js.CreateStream(ctx, want(1))
	}
	return stream, err
}

// servers counts those that the connection has heard of.
func servers(conn *nats.Conn) int {
	seen := make(map[string]bool)
	for _, s := range conn.DiscoveredServers() {
		seen[s] = true
	}
	return max(len(seen)+1, len(conn.Servers()))
}
