(* 1 where two indices are the same, and 0 elsewhere. *)
Definition same (i j : nat) : R := if i =? j then one else zero.

(* What follows: lemmas. *)
Lemma sum_same n j f : (Σ i < n, same i j ⊗ f i) = if j <? n then f j else zero.
Proof.
  unfold same. induction n as [| n IH]; cbn [sum]; [reflexivity |]. rewrite IH.
  destruct (Nat.ltb_spec j n); destruct (Nat.ltb_spec j (S n)); destruct (Nat.eqb_spec n j); try lia;
    try replace j with n by assumption; ring.
Qed.
Lemma same_sym i j : same i j = same j i.
Proof. unfold same. now rewrite Nat.eqb_sym. Qed.
Lemma one_of n k f : k < n -> f k = Σ i < n, same k i ⊗ f i.
Proof.
  intros H. transitivity (Σ i < n, same i k ⊗ f i).
  - rewrite sum_same. now rewrite (proj2 (Nat.ltb_lt _ _) H).
  - apply sum_ext. intros. now rewrite same_sym.
Qed.
