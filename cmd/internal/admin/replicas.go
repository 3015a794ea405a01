package admin

import (
	"context"
	"time"

	"github.com/holdfast-authz/holdfast/cache/feed"
)

// reach says how far a record has come.
type reach struct {
	Replicas int   `json:"replicas"`
	Applied  int   `json:"applied"`
	TookMS   int64 `json:"took_ms"`
	// Behind names those that have not applied it.
	Behind []string `json:"behind,omitempty"`
}

// unheard stands for the replicas of which nothing is known.
const unheard = "others that can not be heard"

// reached waits until every replica has applied a record, or time is up.
func (s *Server) reached(ctx context.Context, c *Config, number uint64, wait time.Duration) reach {
	if c.Reached == nil {
		if c.Index.Applied() >= number {
			return reach{Replicas: 1, Applied: 1}
		}
		return reach{Replicas: 1}
	}
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	replicas, err := c.Reached(limited, number)
	got := reach{Replicas: len(replicas)}
	for i := range replicas {
		if replicas[i].Applied >= number {
			got.Applied++
		} else {
			got.Behind = append(got.Behind, replicas[i].Name())
		}
	}
	if err != nil {
		// Somebody may be there: that all have applied it must not be said.
		got.Replicas, got.Behind = got.Replicas+1, append(got.Behind, unheard)
	}
	return got
}

// replicaView is one replica as GET /v1/feed shows it.
type replicaView struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Version  string `json:"version"`
	Self     bool   `json:"self,omitempty"` // the one that answers
	Ready    bool   `json:"ready"`          // it has read the feed to its end once
	Sequence uint64 `json:"sequence"`       // of the last record it has applied
	Lag      uint64 `json:"lag"`            // how many records fewer than here, when it was heard
	Heard    string `json:"heard"`          // how long ago
}

func replicaViews(replicas []feed.Replica, now time.Time) []replicaView {
	views := make([]replicaView, len(replicas))
	for i := range replicas {
		r := &replicas[i]
		views[i] = replicaView{
			ID: r.ID, Name: r.Name(), Version: r.Version, Self: r.Self, Ready: r.Ready, Sequence: r.Applied, Lag: r.Lag,
			Heard: max(now.Sub(r.Heard), 0).Round(time.Millisecond).String(),
		}
	}
	return views
}
