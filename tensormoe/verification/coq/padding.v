(* Zeros around an array: along axis [a], its entries stand from place [k] on among [n]. *)
Definition pad_axis a k n A :=
  Array (put a n (shape A))
    (fun i => if nth a i 0 <? k then zero
      else if nth a i 0 - k <? nth a (shape A) 0 then A (put a (nth a i 0 - k) i) else zero).
Definition pad_axis_fits a k n A := a < length (shape A) /\ k + nth a (shape A) 0 <= n.

(* 1 for the first [n] indices, and 0 for those beyond. *)
Definition inside (n i : nat) : R := if i <? n then one else zero.

(* What follows: lemmas. *)
Lemma inside_ext n i a b : (i < n -> a = b) -> inside n i ⊗ a = inside n i ⊗ b.
Proof. unfold inside. destruct (Nat.ltb_spec i n); intros E; [rewrite E by assumption |]; ring. Qed.
Lemma sum_inside n m f : n <= m -> sum n f = Σ i < m, inside n i ⊗ f i.
Proof.
  intros L. replace m with (n + (m - n)) by lia. rewrite sum_app.
  transitivity (sum n f ⊕ zero); [ring |]. f_equal.
  - apply sum_ext. intros i H. unfold inside. rewrite (proj2 (Nat.ltb_lt i n) H). ring.
  - rewrite <- (sum_zero (m - n)). apply sum_ext. intros j _. unfold inside.
    rewrite (proj2 (Nat.ltb_ge (n + j) n)) by lia. ring.
Qed.
Lemma sum_within s n f : n <= prod s -> sum n f = sums s (fun i => inside n (flat s i) ⊗ f (flat s i)).
Proof. intros L. rewrite (sum_inside n (prod s) f L). apply sum_axis with (f := fun k => inside n k ⊗ f k). Qed.
Lemma pad_end_entry a n A s i : shape A = s -> put a (nth a i 0) i = i ->
  pad_axis a 0 n A i = inside (nth a s 0) (nth a i 0) ⊗ A i.
Proof.
  intros <- E. cbn [pad_axis entry]. unfold inside. change (nth a i 0 <? 0) with false. rewrite Nat.sub_0_r, E.
  destruct (nth a i 0 <? nth a (shape A) 0); ring.
Qed.
Lemma pad_row_entry a k n A s i : shape A = s -> nth a s 0 = 1 ->
  pad_axis a k n A i = same k (nth a i 0) ⊗ A (put a 0 i).
Proof.
  intros <- E. cbn [pad_axis entry]. rewrite E. unfold same.
  destruct (Nat.ltb_spec (nth a i 0) k); destruct (Nat.eqb_spec k (nth a i 0)); try lia; [ring | |];
    destruct (Nat.ltb_spec (nth a i 0 - k) 1); try lia; [| ring].
  replace (nth a i 0 - k) with 0 by lia. ring.
Qed.
Lemma pad_sum_entry a n A s g i : shape A = s -> nth a s 0 = prod g ->
  pad_axis a 0 n A i = sums g (fun k => same (flat g k) (nth a i 0) ⊗ A (put a (flat g k) i)).
Proof.
  intros <- E. rewrite <- (sum_axis g (fun k => same k (nth a i 0) ⊗ A (put a k i))), <- E, sum_same.
  cbn [pad_axis entry]. change (nth a i 0 <? 0) with false. now rewrite Nat.sub_0_r.
Qed.
Lemma pad_axis_fitting a k n A s : shape A = s -> a < length s -> k + nth a s 0 <= n -> pad_axis_fits a k n A.
Proof. intros <-. now split. Qed.
Ltac within_rows :=
  first [apply Nat.lt_succ_diag_r
    | apply Nat.lt_lt_succ_r; first [assumption | rewrite ?Nat.mul_assoc; repeat apply merge_lt; assumption | lia]].
Ltac read_rows := rewrite ?Nat.add_0_r, ?Nat.add_0_l; reflexivity.
