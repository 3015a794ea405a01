package feed

import (
	"context"
	"errors"
	"fmt"
)

// Append implements Log. A record that no broker acknowledges counts as
// refused, even where it can be read back: a server that failed to write one
// may still show it, and lose it when it starts anew.
func (c *Cluster) Append(ctx context.Context, after uint64, record []byte) (uint64, error) {
	j, l, err := c.use(ctx)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	bounded, end := l.bound(ctx)
	defer end()
	number, err := j.Append(bounded, after, record)
	if err = lostCause(ctx, bounded, err); err != nil && !errors.Is(err, ErrConflict) && !errors.Is(err, ErrRefused) {
		err = fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return number, err
}

// Read implements Log. It ends when the connection does.
func (c *Cluster) Read(ctx context.Context, after uint64, fn func(number uint64, record []byte) error) error {
	j, l, err := c.use(ctx)
	if err != nil {
		return err
	}
	bounded, end := l.bound(ctx)
	defer end()
	return lostCause(ctx, bounded, j.Read(bounded, after, fn))
}

// Get implements Log.
func (c *Cluster) Get(ctx context.Context, number uint64) ([]byte, error) {
	j, l, err := c.use(ctx)
	if err != nil {
		return nil, err
	}
	bounded, end := l.bound(ctx)
	defer end()
	record, err := j.Get(bounded, number)
	return record, lostCause(ctx, bounded, err)
}

// Last implements Log. It waits for a connection, so that a follower goes on
// the moment there is one.
func (c *Cluster) Last(ctx context.Context) (uint64, error) {
	if err := c.await(ctx); err != nil {
		return 0, err
	}
	j, l, err := c.use(ctx)
	if err != nil {
		return 0, err
	}
	bounded, end := l.bound(ctx)
	defer end()
	last, err := j.Last(bounded)
	return last, lostCause(ctx, bounded, err)
}

// lostCause says of a call that was cut off by the loss of its connection that
// this was so.
func lostCause(ctx, bounded context.Context, err error) error {
	if err != nil && ctx.Err() == nil && bounded.Err() != nil && errors.Is(err, context.Canceled) {
		return context.Cause(bounded)
	}
	return err
}

// Close implements Log.
func (c *Cluster) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		if c.now != nil {
			c.now.end(ErrClosed)
			c.now = nil
		}
		c.wake()
	}
	c.mu.Unlock()
	c.stop()
	c.runs.Wait()
	return nil
}
