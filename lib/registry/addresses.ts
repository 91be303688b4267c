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
add(MACHINE, '0.0.0.0', 8) // "this host"; connects to loopback on Linux
add(MACHINE, '127.0.0.0', 8)
MACHINE.addAddress('::', 'ipv6')
MACHINE.addAddress('::1', 'ipv6')

const LINK = new net.BlockList()
add(LINK, '169.254.0.0', 16)
LINK.addSubnet('fe80::', 10, 'ipv6')
// Metadata services of clouds outside the link-local ranges: Alibaba, Amazon, Google, Oracle, Scaleway.
add(LINK, '100.100.100.200', 32)
for (const address of ['fd00:ec2::254', 'fd20:ce::254', 'fd00:c1::a9fe:a9fe', 'fd00:42::42'])
  LINK.addAddress(address, 'ipv6')

const LOOPBACK = new net.BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')

/** IPv4 addresses, also as IPv6 writes them: for translators (RFC 6052, section 2.1), and in the old way (RFC 4291, 2.5.5.1). */
function add(list: net.BlockList, address: string, prefix: number): void {
  list.addSubnet(address, prefix, 'ipv4')
  for (const before of ['64:ff9b::', '::']) list.addSubnet(`${before}${address}`, 96 + prefix, 'ipv6')
}

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
