/**
 * Addresses that a registry must not make us fetch from: the machine itself, its links, and the metadata services there.
 *
 * A registry chooses where redirects and token realms point. One that is elsewhere has no business with what listens on
 * this machine's loopback or on link-local addresses. One that runs on this machine may go on to others on it, but not to
 * links either: it may be a tunnel or a cache, and pass on what a stranger says.
 */
import dns from 'node:dns'
import net from 'node:net'

/** Where an address leads: to this machine, to its links and what serves it there, or elsewhere. */
export type Place = 'machine' | 'link' | 'far'

const MACHINE = new net.BlockList()
MACHINE.addSubnet('0.0.0.0', 8, 'ipv4') // "this host"; connects to loopback on Linux
MACHINE.addSubnet('127.0.0.0', 8, 'ipv4')
MACHINE.addAddress('::', 'ipv6')
MACHINE.addAddress('::1', 'ipv6')

const LINK = new net.BlockList()
LINK.addSubnet('169.254.0.0', 16, 'ipv4')
LINK.addSubnet('fe80::', 10, 'ipv6')
LINK.addAddress('fd00:ec2::254', 'ipv6') // a cloud's metadata service, outside the link-local range

const LOOPBACK = new net.BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')

/** Where an IP address leads. IPv4 addresses inside IPv6 ones count as what they are. */
function placeOfAddress(address: string): Place {
  const family = net.isIPv6(address) ? 'ipv6' : 'ipv4'
  if (LINK.check(address, family)) return 'link'
  return MACHINE.check(address, family) ? 'machine' : 'far'
}

/** Where the host of a URL leads by its name alone. */
export function placeOfHost(hostname: string): Place {
  const address = unbracket(hostname)
  if (net.isIP(address) !== 0) return placeOfAddress(address)
  return isLocalName(address) ? 'machine' : 'far'
}

/** Whether who is at one place may make us fetch from another. */
export function maySend(from: Place, to: Place): boolean {
  return to === 'far' || from === 'link' || from === to
}

/** Whether the host of a URL is this very machine by its name alone. */
export function isLoopbackHost(hostname: string): boolean {
  const address = unbracket(hostname)
  if (net.isIP(address) === 0) return isLocalName(address)
  return LOOPBACK.check(address, net.isIPv6(address) ? 'ipv6' : 'ipv4')
}

function isLocalName(name: string): boolean {
  return /^(?:.+\.)?localhost\.?$/.test(name) // RFC 6761, section 6.3
}

function unbracket(hostname: string): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname
}

/** Code of the error for a name that leads to an address that is out of bounds. */
export const LOCAL_ADDRESS = 'GROOT_LOCAL_ADDRESS'

/**
 * Looks names up for connections and keeps an eye on what they lead to.
 *
 * @param onLookup told where a name leads: `far` when it leads to several places
 * @param from who made us look: a name that leads to any address where that may not send us is an error
 */
export function watchfulLookup(
  onLookup: (hostname: string, place: Place) => void,
  from: Place,
): net.LookupFunction {
  return (hostname, options, callback) => {
    dns.lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, '', 0)
      const places = new Set(addresses.map(({ address }) => placeOfAddress(address)))
      const [place = 'far'] = places
      onLookup(hostname, places.size === 1 ? place : 'far')
      if (![...places].every((each) => maySend(from, each))) {
        return callback(Object.assign(new Error('local address'), { code: LOCAL_ADDRESS }), '', 0)
      }
      if (options.all) return callback(null, addresses)
      const [first] = addresses
      return callback(null, first!.address, first!.family) // a lookup without an error has at least one
    })
  }
}
