package loadbalancer

import "sync"

// keyedLocks serializes the work on one Service. The service controller calls
// UpdateLoadBalancer beside EnsureLoadBalancer and EnsureLoadBalancerDeleted of
// the same Service; two of them at once would undo each other.
type keyedLocks struct {
	mu    sync.Mutex
	locks map[string]*countedLock
}

type countedLock struct {
	sync.Mutex
	users int
}

// lock waits until nobody else holds key and returns the function that gives
// it back. A key that nobody holds or awaits takes no memory.
func (k *keyedLocks) lock(key string) (unlock func()) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[string]*countedLock{}
	}
	l := k.locks[key]
	if l == nil {
		l = &countedLock{}
		k.locks[key] = l
	}
	l.users++
	k.mu.Unlock()

	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(k.locks, key)
		}
	}
}
