/*
 * m_handoff: HANDOFF/1 for InspIRCd, so that a proxy can move live users between two processes.
 *
 *   Copyright (C) 2026 The ircferry authors
 *
 * This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public
 * License as published by the Free Software Foundation, version 2.
 *
 * This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; without even the implied
 * warranty of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU General Public License for more details.
 *
 * You should have received a copy of the GNU General Public License along with this program; the file COPYING beside
 * this one says where it is if not.
 */

// What all parts of the module share: configuration, transactions, silence.

#pragma once

namespace Handoff
{
	/** What a transaction has come to at the source and at the destination of this process (HANDOFF.md, sections 6 and 7). */
	struct Transaction
	{
		std::string source, dest; // states by the standard's words
		unsigned int users;       // of COMMITTED
		std::vector<std::string> missing; // users of COMMIT who had no stream
		bool asked;               // for them
		Transaction() : source("unknown"), dest("unknown"), users(0), asked(false) { }
		bool Open() const { return source == "frozen" || dest == "staging" || dest == "prepared"; }
	};

	/** Remembers the last transactions of this process. */
	class Transactions
	{
		static const size_t Remembered = 64;
		std::map<std::string, Transaction> table;
		std::deque<std::string> order;

	 public:
		/** What is known; an unknown one is not noted. */
		Transaction Look(const std::string& tx) const
		{
			std::map<std::string, Transaction>::const_iterator it = table.find(tx);
			return it == table.end() ? Transaction() : it->second;
		}

		/** For a change. May forget the oldest that has ended. */
		Transaction& Note(const std::string& tx)
		{
			std::map<std::string, Transaction>::iterator it = table.find(tx);
			if (it != table.end())
				return it->second;
			for (std::deque<std::string>::iterator i = order.begin(); order.size() >= Remembered && i != order.end(); )
			{
				if (table[*i].Open())
				{
					++i;
					continue;
				}
				table.erase(*i);
				i = order.erase(i);
			}
			order.push_back(tx);
			return table[tx];
		}
	};

	struct Settings
	{
		std::string pass;         // a coordinator must tell it; empty: the socket's permissions guard it
		std::string fingerprints; // of coordinators on a control listener with TLS
		unsigned int maxusers;
		size_t maxbytes;          // of all records of one import
		Settings() : maxusers(100000), maxbytes(256u << 20) { }
	};

	/** The module's state. There is one. */
	struct World
	{
		Module* const module;
		Settings settings;
		Transactions transactions;
		Streams streams;
		TimedBans timed;
		std::string epoch, skey;
		bool mute;             // nobody is written to: an import or a release is under way
		bool closing;          // the ircd shuts down
		std::set<std::string, irc::insensitive_swo> nicks, channels; // reserved by a prepared import
		std::set<std::string> caps; // names of capabilities beyond those that are known to exist

		World(Module* mod)
			: module(mod), streams(mod), timed(mod), mute(false), closing(false)
		{
			epoch = Random();
			skey = Random();
		}

		/** 128 random bits. */
		static std::string Random()
		{
			unsigned char bytes[16];
			ServerInstance->GenRandom(reinterpret_cast<char*>(bytes), sizeof(bytes));
			std::string hex;
			for (size_t i = 0; i < sizeof(bytes); ++i)
				AppendHex(hex, bytes[i]);
			return hex;
		}

		unsigned int Unmovable(const std::string& coordinator) const
		{
			unsigned int n = 0;
			const UserManager::LocalList& list = ServerInstance->Users.GetLocalUsers();
			for (UserManager::LocalList::const_iterator i = list.begin(); i != list.end(); ++i)
				if (IsRegistered(*i) && !streams.Movable(*i, coordinator))
					n++;
			return n;
		}
	};

	/** Nobody is written to while one of these lives. */
	class Silence
	{
		World& world;

	 public:
		Silence(World& w) : world(w)
		{
			ServerInstance->SNO.FlushSnotices(); // what waits to be repeated is not ours to swallow
			world.mute = true;
		}
		~Silence() { world.mute = false; }
	};

	/** Reads an IP address, and nothing else that InspIRCd would take for one. */
	inline bool ToAddress(const std::string& addr, uint64_t port, irc::sockets::sockaddrs& sa)
	{
		return !addr.empty() && port < 65536 && addr.find_first_not_of("0123456789abcdefABCDEF.:") == std::string::npos
			&& ToSockaddrs(addr, port, sa);
	}

	/** Milliseconds of a clock that is never set. */
	inline uint64_t Now()
	{
		struct timespec ts;
		clock_gettime(CLOCK_MONOTONIC, &ts);
		return static_cast<uint64_t>(ts.tv_sec) * 1000 + ts.tv_nsec / 1000000;
	}
}
